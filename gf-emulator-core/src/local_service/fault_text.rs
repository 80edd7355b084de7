//! A [`Fault`] as text and as JSON, with the same fields.

use std::str::FromStr;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};

use super::fault::{Failure, Fault, FrameFault, LONGEST, Latency, Moment, Scope, Target};
use super::link::{Cut, WsEnd, can_be_sent};

/// The most fragments or lines of a frame.
const PARTS_LIMIT: usize = 100;
/// The default of `wait_s`.
const WAIT: Duration = Duration::from_secs(1);
/// The default of `code`: a normal closure (RFC 6455, section 7.4.1).
const NORMAL_CLOSURE: u16 = 1000;
/// The fields that name a failure.
const FAILURES: &str = "status, request, response, tokens, delay_s, bytes_per_s, frame or cut";

/// Why a text is not a fault, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {reason}")]
#[non_exhaustive]
pub struct FaultError {
    /// The character that the error is about, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut fields = Map::new();
        let mut columns = Vec::new();
        for (column, word) in words(text) {
            let error = |reason: String| FaultError { column, reason };
            let (name, value) = word
                .split_once('=')
                .filter(|(name, value)| !name.is_empty() && !value.is_empty())
                .ok_or_else(|| error(format!("{word:?} is not field=value, such as status=503")))?;
            if fields.insert(name.to_owned(), json_of(name, value)).is_some() {
                return Err(error(format!("{name} is given twice")));
            }
            columns.push((name, column));
        }
        let column_of = |field: Option<&str>| {
            let found = columns.iter().find(|(name, _)| Some(*name) == field);
            found.map_or(1, |(_, column)| *column)
        };
        let fields: Fields = serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
            let field = error.path().to_string();
            FaultError { column: column_of(Some(&field)), reason: format!("{field}: {}", error.inner()) }
        })?;
        fields.into_fault().map_err(|Wrong { field, reason }| FaultError { column: column_of(field), reason })
    }
}

/// Returns the words of a text, each with the number of its first character, counted from 1.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(move |word| {
        let before = &text[..word.as_ptr() as usize - text.as_ptr() as usize];
        (before.chars().count() + 1, word)
    })
}

/// Returns the JSON value of a field in a text. Names that look like numbers stay text.
fn json_of(name: &str, value: &str) -> Value {
    let is_text = name == "event" || name == "on";
    let whole = value.parse::<u64>().map(Number::from).ok();
    let number = whole.or_else(|| Number::from_f64(value.parse().ok()?));
    number.filter(|_| !is_text).map_or_else(|| Value::from(value), Value::Number)
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        fields.into_fault().map_err(|wrong| D::Error::custom(wrong.reason))
    }
}

/// The fields as written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default, expecting = "an object such as {\"status\": 503}")]
struct Fields {
    #[serde(deserialize_with = "whole_number")]
    status: Option<u16>,
    #[serde(deserialize_with = "whole_number")]
    retry_after_s: Option<u32>,
    request: Option<RequestEnd>,
    response: Option<ResponseFault>,
    tokens: Option<TokenFault>,
    delay_s: Option<LatencyText>,
    #[serde(deserialize_with = "whole_number")]
    bytes_per_s: Option<u64>,
    frame: Option<FrameKind>,
    #[serde(deserialize_with = "whole_number")]
    parts: Option<usize>,
    #[serde(deserialize_with = "number")]
    wait_s: Option<f64>,
    cut: Option<CutKind>,
    #[serde(deserialize_with = "whole_number")]
    code: Option<u16>,
    #[serde(deserialize_with = "whole_number")]
    after_messages: Option<u64>,
    #[serde(deserialize_with = "whole_number")]
    after_bytes: Option<u64>,
    #[serde(deserialize_with = "number")]
    after_s: Option<f64>,
    event: Option<String>,
    on: Option<String>,
    machine: Option<MachineText>,
    #[serde(deserialize_with = "number")]
    p: Option<f64>,
    #[serde(deserialize_with = "whole_number")]
    skip: Option<u64>,
    #[serde(deserialize_with = "whole_number")]
    times: Option<u64>,
}

/// Reads a whole number. The errors of serde would name Rust's types.
fn whole_number<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let Some(whole) = value.as_u64() else {
        return Err(D::Error::custom(format_args!("{value} is not a whole number")));
    };
    T::try_from(whole).map(Some).map_err(|_| D::Error::custom(format_args!("{value} is too large")))
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    value.as_f64().map(Some).ok_or_else(|| D::Error::custom(format_args!("{value} is not a number")))
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RequestEnd {
    Cut,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum ResponseFault {
    Cut,
    Short,
    Stall,
    Endless,
    Hold,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum TokenFault {
    Expired,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum FrameKind {
    Double,
    Reorder,
    Split,
    Pack,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum CutKind {
    Rst,
    Fin,
    Close,
}

/// A number of seconds, or the text of a distribution.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected seconds such as 0.2, 0.1..0.5 or lognormal:0.1,0.5")]
enum LatencyText {
    Fixed(f64),
    Distribution(String),
}

/// A number, or a serial number with its `S`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number from 1, or a serial number such as S12345")]
enum MachineText {
    Number(u64),
    Serial(String),
}

/// A field that is wrong, or `None` if one is missing.
struct Wrong {
    field: Option<&'static str>,
    reason: String,
}

fn wrong<T>(field: &'static str, reason: impl std::fmt::Display) -> Result<T, Wrong> {
    Err(Wrong { field: Some(field), reason: format!("{field}: {reason}") })
}

impl Fields {
    fn into_fault(self) -> Result<Fault, Wrong> {
        self.check_companions()?;
        let failure = self.failure()?;
        let on = match &self.on {
            None => Scope::Any,
            Some(text) => scope(text)?,
        };
        let is_of_frames = matches!(failure, Failure::Frame(_) | Failure::EndWebSocket { .. });
        let is_of_both = matches!(failure, Failure::Delay(_) | Failure::Bandwidth { .. });
        match &on {
            Scope::Requests { .. } if is_of_frames => {
                return wrong("on", "frame and cut happen to the WebSocket, not to requests");
            }
            Scope::Frames if !is_of_frames && !is_of_both => return wrong("on", "this happens to requests only"),
            _ => {}
        }
        let machine = match self.machine {
            None => None,
            Some(MachineText::Number(0)) => return wrong("machine", "machines are counted from 1"),
            Some(MachineText::Number(number)) => Some(Target::Number(number)),
            Some(MachineText::Serial(serial)) if serial.len() > 1 && serial.starts_with('S') => {
                Some(Target::Serial(serial))
            }
            Some(MachineText::Serial(text)) => {
                return wrong(
                    "machine",
                    format_args!("{text:?} is neither a number nor a serial number such as S12345"),
                );
            }
        };
        let probability = self.p.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&probability) {
            return wrong("p", format_args!("{probability} is not a probability from 0 to 1"));
        }
        if self.times == Some(0) {
            return wrong("times", "must be at least 1");
        }
        Ok(Fault { failure, on, machine, probability, skip: self.skip.unwrap_or(0), times: self.times })
    }

    /// Fails if there is a field without the one that it belongs to.
    fn check_companions(&self) -> Result<(), Wrong> {
        let is_waiting = matches!(self.frame, Some(FrameKind::Reorder | FrameKind::Pack));
        let has_parts = matches!(self.frame, Some(FrameKind::Split | FrameKind::Pack));
        let cuts = self.cut.is_some();
        let companions = [
            ("retry_after_s", self.retry_after_s.is_some(), self.status.is_some(), "status"),
            ("parts", self.parts.is_some(), has_parts, "frame=split and frame=pack"),
            ("wait_s", self.wait_s.is_some(), is_waiting, "frame=reorder and frame=pack"),
            ("code", self.code.is_some(), matches!(self.cut, Some(CutKind::Close)), "cut=close"),
            ("after_messages", self.after_messages.is_some(), cuts, "cut"),
            ("after_bytes", self.after_bytes.is_some(), cuts, "cut"),
            ("after_s", self.after_s.is_some(), cuts, "cut"),
            ("event", self.event.is_some(), cuts, "cut"),
        ];
        let alone = companions.into_iter().find(|(_, is_present, has_owner, _)| *is_present && !has_owner);
        alone.map_or(Ok(()), |(field, _, _, owner)| wrong(field, format_args!("belongs to {owner} only")))
    }

    fn failure(&self) -> Result<Failure, Wrong> {
        let failures = [
            ("status", self.status.map(|status| self.status_failure(status))),
            ("request", self.request.map(|RequestEnd::Cut| Ok(Failure::CutRequest))),
            ("response", self.response.map(|response| Ok(response_failure(response)))),
            ("tokens", self.tokens.map(|TokenFault::Expired| Ok(Failure::ExpireTokens))),
            ("delay_s", self.delay_s.as_ref().map(|latency| latency.check().map(Failure::Delay))),
            ("bytes_per_s", self.bytes_per_s.map(bandwidth)),
            ("frame", self.frame.map(|kind| self.frame_failure(kind).map(Failure::Frame))),
            ("cut", self.cut.map(|kind| self.cut_failure(kind))),
        ];
        let mut given = failures.into_iter().filter_map(|(field, failure)| Some((field, failure?)));
        let Some((first, failure)) = given.next() else {
            return Err(Wrong { field: None, reason: format!("a fault needs one of {FAILURES}") });
        };
        match given.next() {
            Some((second, _)) => wrong(second, format_args!("a fault has one failure, and {first} is one already")),
            None => failure,
        }
    }

    fn status_failure(&self, status: u16) -> Result<Failure, Wrong> {
        if !(200..600).contains(&status) {
            return wrong("status", format_args!("{status} is not an HTTP status from 200 to 599"));
        }
        let headers = self.retry_after_s.map(|seconds| ("Retry-After".to_owned(), seconds.to_string()));
        Ok(Failure::Status { status, headers: headers.into_iter().collect() })
    }

    fn frame_failure(&self, kind: FrameKind) -> Result<FrameFault, Wrong> {
        let parts = self.parts.unwrap_or(2);
        if !(2..=PARTS_LIMIT).contains(&parts) {
            return wrong("parts", format_args!("{parts} is not a number from 2 to {PARTS_LIMIT}"));
        }
        let wait = self.wait_s.map_or(Ok(WAIT), |seconds| time("wait_s", seconds))?;
        Ok(match kind {
            FrameKind::Double => FrameFault::Double,
            FrameKind::Reorder => FrameFault::Reorder { wait },
            FrameKind::Split => FrameFault::Split { parts },
            FrameKind::Pack => FrameFault::Pack { parts, wait },
        })
    }

    fn cut_failure(&self, kind: CutKind) -> Result<Failure, Wrong> {
        let how = match kind {
            CutKind::Rst => WsEnd::Cut(Cut::Reset),
            CutKind::Fin => WsEnd::Cut(Cut::Drain),
            CutKind::Close => {
                let code = self.code.unwrap_or(NORMAL_CLOSURE);
                if !can_be_sent(code) {
                    return wrong("code", format_args!("{code} is not a WebSocket close code that can be sent"));
                }
                WsEnd::Close(code)
            }
        };
        let open_for = self.after_s.map(|seconds| time("after_s", seconds)).transpose()?;
        let at_least_1 = |field, number: Option<u64>| match number {
            Some(0) => wrong(field, "must be at least 1"),
            _ => Ok(number),
        };
        let moments = [
            ("after_messages", at_least_1("after_messages", self.after_messages)?.map(Moment::Messages)),
            ("after_bytes", at_least_1("after_bytes", self.after_bytes)?.map(Moment::Bytes)),
            ("after_s", open_for.map(Moment::Open)),
            ("event", self.event.clone().map(Moment::Event)),
        ];
        let mut given = moments.into_iter().filter_map(|(field, moment)| Some((field, moment?)));
        let when = given.next();
        match (given.next(), &when) {
            (Some((second, _)), Some((first, _))) => {
                wrong(second, format_args!("a cut has one moment, and {first} is one already"))
            }
            _ => Ok(Failure::EndWebSocket { how, when: when.map_or(Moment::Frame, |(_, moment)| moment) }),
        }
    }
}

fn response_failure(response: ResponseFault) -> Failure {
    match response {
        ResponseFault::Cut => Failure::CutAnswer,
        ResponseFault::Short => Failure::ShortBody,
        ResponseFault::Stall => Failure::Stall,
        ResponseFault::Endless => Failure::EndlessBody,
        ResponseFault::Hold => Failure::Hold,
    }
}

fn bandwidth(bytes_per_s: u64) -> Result<Failure, Wrong> {
    if bytes_per_s == 0 { wrong("bytes_per_s", "must be at least 1") } else { Ok(Failure::Bandwidth { bytes_per_s }) }
}

impl LatencyText {
    fn check(&self) -> Result<Latency, Wrong> {
        let seconds = |seconds| time("delay_s", seconds);
        let numbers = |text: &str, separator: &str| {
            let (first, second) = text.split_once(separator)?;
            Some((first.parse::<f64>().ok()?, second.parse::<f64>().ok()?))
        };
        let text = match self {
            Self::Fixed(fixed) => return Ok(Latency::Fixed(seconds(*fixed)?)),
            Self::Distribution(text) => text,
        };
        if let Some((median, sigma)) = text.strip_prefix("lognormal:").and_then(|text| numbers(text, ",")) {
            let median = seconds(median)?;
            if !(0.0..=10.0).contains(&sigma) {
                return wrong("delay_s", format_args!("{sigma} is not a standard deviation from 0 to 10"));
            }
            return Ok(Latency::LogNormal { median, sigma });
        }
        let Some((min, max)) = numbers(text, "..") else {
            return wrong("delay_s", format_args!("{text:?} is none of 0.2, 0.1..0.5 and lognormal:0.1,0.5"));
        };
        let (min, max) = (seconds(min)?, seconds(max)?);
        if min > max {
            return wrong("delay_s", "the first number of a range must not be larger than the second");
        }
        Ok(Latency::Uniform { min, max })
    }
}

fn time(field: &'static str, seconds: f64) -> Result<Duration, Wrong> {
    let longest_s = LONGEST.as_secs_f64();
    if !(0.0..=longest_s).contains(&seconds) {
        return wrong(field, format_args!("{seconds} is not a number of seconds from 0 to {longest_s}"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn scope(text: &str) -> Result<Scope, Wrong> {
    if text == "ws" {
        return Ok(Scope::Frames);
    }
    let (method, path_prefix) = match text.split_once(':') {
        Some((method, path)) if !method.starts_with('/') => (Some(method), path),
        _ => (None, text),
    };
    let is_method = |method: &str| !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
    if !path_prefix.starts_with('/') || !method.is_none_or(is_method) {
        return wrong("on", format_args!("{text:?} is none of PUT:/path, /path and ws"));
    }
    Ok(Scope::Requests { method: method.map(str::to_owned), path_prefix: path_prefix.to_owned() })
}

#[cfg(test)]
mod tests;
