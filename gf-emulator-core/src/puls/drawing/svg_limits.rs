//! Limits of SVG files. A short file can stand for a drawing that fills any memory: elements use others, which use others,
//! and so on. The size of the drawing is estimated before it is made.

use std::collections::HashMap;

use resvg::usvg::roxmltree::{Document, Node};
use simplecss::StyleSheet;

use super::super::limit::limit;
use super::super::{Error, Result};
use super::read_drawing;
use super::svg_element::Styled;
use super::svg_pictures;
use super::text_position::TextPosition;

/// Elements within elements, with what they use. Each takes up to some 10 KiB of stack.
const MAX_DEPTH: usize = 96;
/// Elements with all that they use, and markers for each point.
const MAX_ELEMENTS: u64 = limit(1_000_000) as u64;
/// The points of paths, estimated from the length of their text, with all that are used.
const MAX_POINTS: u64 = limit(10_000_000) as u64;
/// The largest coordinate. An arc is drawn in more pieces the larger it is.
const MAX_NUMBER: f64 = 1e9;
/// Nodes of XML, which are elements, texts and comments.
pub(super) const MAX_NODES: u32 = 2_000_000;
/// The attributes of an element: each is compared with each.
const MAX_ATTRIBUTES: usize = 2_000;
/// Declarations of namespaces: each element with one has a copy of those before.
const MAX_NAMESPACES: usize = 20_000;
/// Rules of style sheets, with their declarations and the length of their selectors, times elements.
const MAX_STYLES: u64 = limit(100_000_000) as u64;
/// How many bytes of a style sheet take as long as a rule.
const STYLE_BYTES: usize = 16;
/// How many times the memory of another element a text takes.
const TEXT_COST: u64 = 16;
/// Text after entities are replaced, in bytes.
const MAX_ENTITY_BYTES: usize = 256 << 20;
/// The XML reader replaces at most this many entities within an entity.
const NESTED_ENTITIES: usize = 255;

/// Returns the text of a file that may be compressed.
pub(super) fn text(bytes: &[u8]) -> Result<String> {
    let bytes = read_drawing(bytes)?;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(
            TextPosition { line: 1, column: 1 }.error("text in UTF-16", "UTF-8: save the file in that encoding")
        );
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let place = TextPosition::of(error.as_bytes(), error.utf8_error().valid_up_to());
        place.error("bytes that are not UTF-8 text", "an SVG file in that encoding")
    })?;
    check_text(&text)?;
    Ok(text)
}

fn too_many(what: &str, max: impl std::fmt::Display) -> Error {
    Error::Svg { found: format!("too many {what}"), expected: format!("at most {max}: simplify the drawing") }
}

/// Refuses text that takes the XML reader much more time or memory than its length.
fn check_text(text: &str) -> Result<()> {
    if has_large_tag(text) {
        return Err(too_many("attributes in an element", MAX_ATTRIBUTES));
    }
    if text.matches("xmlns").count() > MAX_NAMESPACES {
        return Err(too_many("declarations of namespaces", MAX_NAMESPACES));
    }
    let (mut bytes, mut nested) = (0, 1);
    for declaration in text.split("<!ENTITY").skip(1) {
        let value = declaration.find(['"', '\'']).map_or("", |quote| &declaration[quote..]);
        let entity = value.split(value.chars().next().unwrap_or('"')).nth(1).unwrap_or_default();
        bytes += entity.len();
        if entity.contains('&') {
            nested = NESTED_ENTITIES;
        }
    }
    if bytes.saturating_mul(text.matches('&').count()).saturating_mul(nested) > MAX_ENTITY_BYTES {
        return Err(Error::Svg {
            found: "entities that stand for a very long text".to_owned(),
            expected: "a file without <!ENTITY ..>: save it as plain SVG".to_owned(),
        });
    }
    Ok(())
}

/// Returns whether a tag, as opposed to the text after it, has too many values in quotes.
fn has_large_tag(text: &str) -> bool {
    text.split('<').any(|part| {
        let mut quote = None;
        let mut values = 0;
        for byte in part.bytes() {
            match (byte, quote) {
                (b'"' | b'\'', None) => {
                    quote = Some(byte);
                    values += 1;
                }
                (_, Some(open)) if byte == open => quote = None,
                (b'>', None) => break,
                _ => {}
            }
        }
        values > MAX_ATTRIBUTES
    })
}

/// Refuses a document whose drawing would be too large or too deep, or that contains itself. Returns whether it has
/// filters, and whether it has masks.
pub(super) fn check(document: &Document<'_>) -> Result<[bool; 2]> {
    let mut depths = vec![0_usize; document.descendants().count() + 1];
    let mut ids = HashMap::new();
    let mut css = StyleSheet::new();
    let mut css_bytes = 0;
    let mut elements = 0;
    let mut has_effects = [false; 2];
    for node in document.descendants().filter(Node::is_element) {
        elements += 1;
        let index = node.id().get_usize();
        depths[index] = 1 + node.parent().map_or(0, |parent| depths[parent.id().get_usize()]);
        if depths[index] > MAX_DEPTH {
            return Err(too_deep());
        }
        if let Some(id) = node.attribute("id") {
            ids.entry(id).or_insert(node);
        }
        if node.tag_name().name() == "style" {
            let text = node.text().unwrap_or_default();
            check_numbers(text, true)?;
            css.parse_more(text);
            css_bytes += text.len();
        }
        if node.tag_name().name() == "image" {
            svg_pictures::check(node)?;
        }
        for attribute in node.attributes() {
            note_effects(&mut has_effects, attribute.name(), attribute.value());
            if GEOMETRY.contains(&attribute.name()) {
                check_numbers(attribute.value(), attribute.name() == "style")?;
            }
        }
    }
    let declarations: usize = css.rules.iter().map(|rule| 1 + rule.declarations.len()).sum();
    if elements * (declarations + css_bytes / STYLE_BYTES) as u64 > MAX_STYLES {
        return Err(too_many("rules in style sheets for so many elements", MAX_STYLES / elements));
    }
    for declaration in css.rules.iter().flat_map(|rule| &rule.declarations) {
        note_effects(&mut has_effects, declaration.name, declaration.value);
    }
    css.rules.retain(|rule| rule.declarations.iter().any(|declaration| declaration.value.contains("url(")));
    let mut estimate = Estimate { ids, css, costs: vec![None; depths.len()] };
    let cost = estimate.of(document.root_element(), 0)?;
    if cost.elements > MAX_ELEMENTS {
        return Err(too_many("elements, with all that they use", MAX_ELEMENTS));
    }
    if cost.all_points > MAX_POINTS {
        return Err(too_many("points, with those of all elements that are used", MAX_POINTS));
    }
    Ok(has_effects)
}

/// Notes whether a property, or one in a style attribute, is a filter or a mask.
fn note_effects(has_effects: &mut [bool; 2], property: &str, value: &str) {
    let properties = if property == "style" { value } else { "" };
    let properties = properties.split(';').filter_map(|one| one.split_once(':'));
    for (property, value) in properties.chain([(property, value)]) {
        for (has_effect, effect) in has_effects.iter_mut().zip(["filter", "mask"]) {
            *has_effect |= property.trim() == effect && value.trim() != "none";
        }
    }
}

/// The attributes that arcs depend on.
const GEOMETRY: [&str; 16] = [
    "cx",
    "cy",
    "d",
    "font-size",
    "height",
    "points",
    "r",
    "rx",
    "ry",
    "style",
    "viewBox",
    "width",
    "x",
    "x1",
    "y",
    "y1",
];

/// Refuses numbers that are too large. In path data, they follow letters; in styles, such words are names and colours.
fn check_numbers(text: &str, is_style: bool) -> Result<()> {
    let is_part = |c: char| {
        c.is_ascii_digit()
            || matches!(c, '.' | 'e' | 'E')
            || is_style && (c.is_ascii_alphanumeric() || matches!(c, '#' | '_'))
    };
    for word in text.replace("e+", "e").replace("E+", "e").split(|c| !is_part(c)) {
        // Digits and an exponent. A negative one is a word of its own.
        let digits = word.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let Ok(number) = word[..digits].parse::<f64>() else { continue };
        let exponent = word[digits..].strip_prefix(['e', 'E']).map(|rest| rest.split(|c: char| !c.is_ascii_digit()));
        let exponent = exponent.and_then(|mut parts| parts.next()?.parse::<i32>().ok()).unwrap_or_default();
        if number * 10_f64.powi(exponent) > MAX_NUMBER {
            return Err(Error::Svg {
                found: format!("the number {}", word.chars().take(24).collect::<String>()),
                expected: "numbers up to 1000000000".to_owned(),
            });
        }
    }
    Ok(())
}

fn too_deep() -> Error {
    Error::Svg {
        found: format!("more than {MAX_DEPTH} elements within each other, or an element that uses itself"),
        expected: "fewer: ungroup the drawing, and convert clones and symbols to paths".to_owned(),
    }
}

/// What an element stands for.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// All elements that are made of it.
    elements: u64,
    /// Those that are there without markers, clip paths and patterns: what these may be applied to.
    shapes: u64,
    /// The points, each of which may get a marker.
    points: u64,
    /// All points.
    all_points: u64,
    depth: usize,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.elements = self.elements.saturating_add(other.elements);
        self.shapes = self.shapes.saturating_add(other.shapes);
        self.points = self.points.saturating_add(other.points);
        self.all_points = self.all_points.saturating_add(other.all_points);
        self.depth = self.depth.max(other.depth);
    }
}

struct Estimate<'a> {
    ids: HashMap<&'a str, Node<'a, 'a>>,
    /// The rules that refer to elements.
    css: StyleSheet<'a>,
    costs: Vec<Option<Cost>>,
}

impl<'a> Estimate<'a> {
    fn of(&mut self, node: Node<'a, 'a>, depth: usize) -> Result<Cost> {
        let index = node.id().get_usize();
        let known = self.costs[index];
        // An element that uses itself gets here until it is too deep.
        if depth + known.map_or(0, |cost| cost.depth) > MAX_DEPTH {
            return Err(too_deep());
        }
        if let Some(cost) = known {
            return Ok(cost);
        }
        let name = node.tag_name().name();
        let outline = node.attribute("d").or(node.attribute("points")).map_or(0, str::len) as u64;
        let text: usize = node.children().filter_map(|child| child.text()).map(str::len).sum();
        let own = if matches!(name, "text" | "tspan" | "textPath") { TEXT_COST + text as u64 } else { 1 };
        let mut cost = Cost {
            elements: own,
            shapes: own,
            points: 2 + outline / 2,
            // Numbers have more digits than one.
            all_points: own.saturating_add(outline / 4),
            depth: 0,
        };
        for child in node.children().filter(Node::is_element) {
            cost.add(self.of(child, depth + 1)?);
        }
        let has_link = matches!(
            name,
            "use" | "pattern" | "linearGradient" | "radialGradient" | "textPath" | "tref" | "feImage" | "filter"
        );
        let links = node.attributes().filter(|attribute| has_link && attribute.name() == "href");
        let links: Vec<&str> = links.filter_map(|link| link.value().trim().strip_prefix('#')).collect();
        for target in links.into_iter().filter_map(|id| self.ids.get(id).copied()).collect::<Vec<_>>() {
            cost.add(self.of(target, depth + 1)?);
        }
        let mut references = Vec::new();
        for attribute in node.attributes() {
            add_references(attribute.name(), attribute.value(), &mut references);
        }
        for rule in self.css.rules.iter().filter(|rule| rule.selector.matches(&Styled(node))) {
            for declaration in &rule.declarations {
                add_references(declaration.name, declaration.value, &mut references);
            }
        }
        for (applied, id) in references {
            let Some(target) = self.ids.get(id).copied() else { continue };
            let used = self.of(target, depth + 1)?;
            let times = match applied {
                Applied::Once => 1,
                Applied::ToShapes => cost.shapes,
                Applied::ToPoints => cost.points,
            };
            cost.elements = cost.elements.saturating_add(used.elements.saturating_mul(times));
            cost.all_points = cost.all_points.saturating_add(used.all_points.saturating_mul(times));
            cost.depth = cost.depth.max(used.depth);
        }
        cost.depth += 1;
        self.costs[index] = Some(cost);
        Ok(cost)
    }
}

#[derive(Clone, Copy)]
enum Applied {
    Once,
    ToShapes,
    ToPoints,
}

/// Adds the ids in each `url(#id)` of a property. A style attribute may have all of them.
fn add_references<'a>(property: &str, value: &'a str, references: &mut Vec<(Applied, &'a str)>) {
    let applied = |property: &str| match property {
        _ if property.contains("marker") => Applied::ToPoints,
        "clip-path" | "mask" | "filter" => Applied::Once,
        _ => Applied::ToShapes,
    };
    let declarations: Vec<&str> = if property == "style" { value.split(';').collect() } else { vec![value] };
    for declaration in declarations {
        let property =
            if property == "style" { declaration.split(':').next().unwrap_or_default().trim() } else { property };
        for rest in declaration.split("url(").skip(1) {
            let rest = rest.trim_start().trim_start_matches(['"', '\'']).trim_start();
            if let Some(id) = rest.strip_prefix('#') {
                let id = id.split([')', '"', '\'']).next().unwrap_or_default().trim();
                references.push((applied(property), id));
            }
        }
    }
}
