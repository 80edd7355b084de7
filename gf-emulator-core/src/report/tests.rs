//! What is made of entries: the story, and rows.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::diagram::{Setting, bytes, clock, row, seconds};
use super::raw;
use super::subsystems;
use super::timeline::{Channel, MOST_ROWS, MOST_TROUBLES, Outcome, Story, Trouble, Window};
use crate::record::{DisplayEntry, Entry, LineSpan, SkippedLine};

/// Of an entry in no file: where its place is stands for its number.
fn entry(n: u64, fields: &Value) -> DisplayEntry {
    let mut entry = json!({"n": n, "t": n as f64 / 10.0, "at": "2026-11-24T08:00:00.000Z"});
    entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let entry: Entry = serde_json::from_value(entry).unwrap();
    DisplayEntry { entry, is_truncated: false, place: LineSpan::for_test(n) }
}

fn empty(window: Window) -> Story {
    let about = json!({"format": 1, "recorder": "a test", "side": "machine", "service": "https://a"});
    Story::new(serde_json::from_value(about).unwrap(), window)
}

fn story(entries: &[Value]) -> Story {
    let mut story = empty(Window::From(0));
    (1..).zip(entries).for_each(|(n, fields)| story.add(&entry(n, fields)));
    story.finish(&[]);
    story
}

fn asked(id: i64, kind: &str, url: &str) -> Value {
    let json = json!({"id": id, "action_type": kind, "status": "ready", "motion_url": url});
    json!({"kind": "in", "bytes": 1, "json": json})
}

fn said(id: i64, name: &str) -> Value {
    json!({"kind": "out", "bytes": 1, "json": {"event": name, "action_id": id}})
}

fn exchange(method: &str, url: &str, status: u16) -> Value {
    json!({"kind": "http", "method": method, "url": url, "status": status, "request": {"bytes": 0}})
}

/// Each action with its end and its entries' numbers.
fn actions(story: &Story) -> Vec<(i64, Option<Outcome>, Vec<u64>)> {
    let numbers = |places: &[LineSpan]| places.iter().map(|place| place.number()).collect();
    story.actions.values().map(|action| (action.id, action.outcome, numbers(&action.steps))).collect()
}

#[test]
fn what_belongs_to_an_action_is_found_by_id_by_url_and_by_time() {
    let story = story(&[
        exchange("POST", "https://a/machines/sign_in", 200),
        asked(1, "print", "https://s/job?***"),
        asked(2, "lid_image", "https://s/2"),
        said(1, "print:starting"),
        exchange("GET", "https://s/job", 200),
        exchange("PUT", "https://s/2", 200),
        exchange("POST", "https://a/api/machines/lid_image/2", 200),
        exchange("GET", "https://a/nobody's", 200),
        said(2, "lid_image:upload:completed"),
        said(2, "lid_image:completed"),
        exchange("GET", "https://a/update/current", 200),
        exchange("POST", "https://a/machines/sign_in", 200),
        json!({"kind": "out", "bytes": 1, "json": {"event": "button:pressed"}}),
        said(1, "print:completed"),
        said(1, "print:reset"),
    ]);
    let expected =
        [(1, Some(Outcome::Completed), vec![2, 4, 5, 11, 14, 15]), (2, Some(Outcome::Completed), vec![3, 6, 7, 9, 10])];
    assert_eq!(actions(&story), expected);
    let channels: Vec<_> = [0, 4, 5, 10].map(|at| story.told[at].channel).into();
    assert_eq!(channels, [Channel::Service, Channel::Storage, Channel::Storage, Channel::Service]);
    assert_eq!(story.troubles, []);
}

#[test]
fn an_id_that_comes_again_is_another_action_once_the_first_is_over() {
    let cancel = json!({"kind": "in", "bytes": 1, "json": {"id": 1, "action_type": "print", "status": "cancelled"}});
    let story = story(&[
        asked(1, "print", "https://s/1"),
        asked(1, "print", "https://s/1"),
        cancel.clone(),
        said(1, "print:cancelled"),
        cancel,
        asked(1, "print", "https://s/1"),
        exchange("GET", "https://s/1", 200),
        // Of what began before the recording did, the rest.
        said(7, "motion:completed"),
    ]);
    let expected = [
        (1, Some(Outcome::Cancelled), vec![1, 2, 3, 4, 5]),
        (1, None, vec![6, 7]),
        (7, Some(Outcome::Completed), vec![8]),
    ];
    assert_eq!(actions(&story), expected);
    assert_eq!(story.actions[&2].kind, "motion");
    let troubled = [0, 1].map(|number| Trouble::Action {
        number,
        id: 1,
        kind: "print".into(),
        outcome: (number == 0).then_some(Outcome::Cancelled),
        reason: None,
    });
    assert_eq!(story.troubles, troubled);
}

#[test]
fn what_went_wrong_is_in_the_order_in_which_it_did() {
    let mut story = story(&[
        json!({"kind": "opened", "url": "wss://s"}),
        exchange("GET", "https://a/x", 399),
        exchange("GET", "https://a/x", 400),
        json!({"kind": "http", "method": "GET", "url": "https://a/x", "error": "cut", "request": {"bytes": 0}}),
        json!({"kind": "in", "bytes": 1, "text": "no JSON"}),
        json!({"kind": "closed", "reason": "closed by the machine (1000)"}),
        json!({"kind": "closed", "reason": "the machine has stopped"}),
        json!({"kind": "closed", "reason": "cut"}),
        json!({"kind": "state", "state": "stopped"}),
        json!({"kind": "state", "state": "failed", "detail": "why"}),
    ]);
    let skipped = SkippedLine { line: 9, reason: "half".into() };
    story.finish(std::slice::from_ref(&skipped));
    let troubled: Vec<_> = story
        .troubles
        .iter()
        .map(|trouble| match trouble {
            Trouble::Entry { n, what, .. } => (*n, *what),
            Trouble::Line(skipped) => (skipped.line, "line"),
            Trouble::Action { .. } => panic!("{trouble:?}"),
        })
        .collect();
    let expected = [(3, "request"), (4, "request"), (5, "message"), (8, "connection"), (10, "machine"), (9, "line")];
    assert_eq!(troubled, expected);
}

#[test]
fn a_second_report_has_the_first_before_it_and_an_empty_one_is_none() {
    let report = |settings: Value| json!({"kind": "out", "bytes": 1, "json": {"event": "settings:completed", "action_id": 1, "settings": settings}});
    let story = story(&[
        report(json!({"values": {"AAdc": 1, "HCil": 2}})),
        report(json!({})),
        report(json!({"values": {}})),
        json!({"kind": "out", "bytes": 1, "json": {"progress": "print:progress", "action_id": 1, "settings": {"values": {"CCbp": 1}}}}),
        report(json!({"AAdc": 1, "HCil": 3})),
    ]);
    let [first, last] = [1, 5].map(LineSpan::for_test);
    assert_eq!(story.actions[&0].reports, [(first, None), (last, Some(first))]);
}

#[test]
fn settings_are_told_by_subsystem_and_then_by_what_changed() {
    let object = |value: Value| value.as_object().unwrap().clone();
    let before = object(json!({"AAdc": 204, "HCil": 0, "ZZzz": "<b>"}));
    let whole = subsystems::whole(&before).into_string();
    for words in [
        "3 settings in 3 subsystems",
        "<caption>AA <span>air assist</span></caption>",
        "<caption>HC <span>head camera</span></caption>",
        "<caption>ZZ</caption><tr><th scope=\"row\">ZZzz</th><td>&lt;b&gt;</td></tr>",
    ] {
        assert!(whole.contains(words), "{words}: {whole}");
    }
    let now = object(json!({"AAdc": 204, "HCil": 1, "ÄÖü": 5}));
    let changes = subsystems::changes(&before, &now).into_string();
    for words in [
        "3 of 3 settings changed",
        "<th scope=\"row\">HCil</th><td>0</td><td>1</td>",
        "<td>&lt;b&gt;</td><td><span class=\"faint\">none</span></td>",
        "<th scope=\"row\">ÄÖü</th><td><span class=\"faint\">none</span></td><td>5</td>",
    ] {
        assert!(changes.contains(words), "{words}: {changes}");
    }
    assert!(!changes.contains("AAdc"));
    assert!(subsystems::changes(&now, &now).into_string().contains("0 of 3 settings changed"));
}

#[test]
fn why_an_action_ended_is_told_with_it() {
    let why = |id: i64| json!({"kind": "state", "state": "cancelled", "action_id": id, "detail": "the lid was opened"});
    let story = story(&[asked(7, "print", "https://s/7"), why(7), said(7, "print:cancelled"), why(8)]);
    assert_eq!(story.actions[&0].reason.as_deref(), Some("the lid was opened"));
    assert_eq!(actions(&story), [(7, Some(Outcome::Cancelled), vec![1, 2, 3])]);
    // The end is what went wrong, and the reason is told with it.
    let [Trouble::Action { id: 7, reason: Some(reason), .. }] = &story.troubles[..] else { panic!("{story:?}") };
    assert_eq!(reason, "the lid was opened");
}

#[test]
fn what_is_kept_of_a_long_session_is_bounded() {
    // One goes on from beginning to end. Of the others every third never ends, one completes and one fails.
    let third = MOST_ROWS / 2;
    let mut entries = vec![entry(1, &asked(-1, "print", "https://s/x"))];
    let mut add = |fields: Value| entries.push(entry(entries.len() as u64 + 1, &fields));
    for id in 0..i64::try_from(3 * third).unwrap() {
        add(asked(id, &format!("kind{id}"), &format!("https://s/{id}")));
        match id % 3 {
            0 => add(said(-1, "print:progress")),
            1 => add(said(id, &format!("kind{id}:completed"))),
            _ => add(said(id, &format!("kind{id}:failed"))),
        }
    }
    let all = entries.len() as u64;
    for (window, first) in
        [(Window::From(0), 0), (Window::From(all / 2), all / 2), (Window::Latest, all - MOST_ROWS as u64)]
    {
        let mut story = empty(window);
        for entry in &entries {
            story.add(entry);
        }
        story.finish(&[]);
        assert_eq!((story.entries, story.first, story.told.len()), (all, first, MOST_ROWS));
        assert_eq!(story.told[0].place.number(), first + 1);
        assert!(story.actions.len() < MOST_ROWS, "{}", story.actions.len());
        let shown: Vec<_> = story.shown_actions().collect();
        assert!(shown.contains(&0), "the one that goes on is on every page");
        let of_rows: BTreeSet<_> = story.told.iter().filter_map(|told| told.action).collect();
        // Those of which nothing was heard for longest may be forgotten before they end.
        let known = of_rows.iter().filter(|number| shown.contains(number)).count();
        assert!(known >= of_rows.len() / 2, "{known} of {}", of_rows.len());
        assert!(story.actions[&0].steps.len() + story.actions[&0].last_steps.len() <= 500);
        assert_eq!(story.actions[&0].steps_count(), third + 1);
        assert_eq!(story.troubles.len(), MOST_TROUBLES);
        let counts = story.counts;
        let ended = [Some(Outcome::Completed), Some(Outcome::Failed), Some(Outcome::Cancelled), None];
        assert_eq!(ended.map(|outcome| counts.ended(outcome)), [third, third, 0, third + 1]);
    }
}

#[test]
fn a_row_stands_for_itself() {
    let rows: Vec<_> = [
        asked(1, "print", "https://s/1"),
        said(1, "print:download:completed"),
        exchange("GET", "https://s/job", 404),
        json!({"kind": "closed", "reason": "cut"}),
    ]
    .iter()
    .map(|fields| row(&entry(3, fields), Setting { raw_bytes: 0, ..Setting::default() }).into_string())
    .collect();
    insta::assert_snapshot!(rows.join("\n"), @r#"
    <details class="row in" id="e3" data-channel="status" data-outcome="none" data-action="print"><summary><time>0.300</time><span class="what">print <b>1</b> ready</span><i role="img" aria-label="service to machine"></i></summary><pre></pre><p class="note">This is not all of it: line 4 of session.jsonl is.</p></details>
    <details class="row out" id="e3" data-channel="status" data-outcome="none" data-action="print"><summary><time>0.300</time><span class="what">print:download:completed <b>1</b></span><i role="img" aria-label="machine to service"></i></summary><pre></pre><p class="note">This is not all of it: line 4 of session.jsonl is.</p></details>
    <details class="row far trouble" id="e3" data-channel="storage" data-outcome="failed"><summary><time>0.300</time><span class="what">GET /job → <b>404</b><small></small></span><i role="img" aria-label="machine to storage"></i></summary><pre></pre><p class="note">This is not all of it: line 4 of session.jsonl is.</p></details>
    <details class="row line trouble" id="e3" data-channel="status" data-outcome="failed"><summary><time>0.300</time><span class="what">WebSocket closed: cut</span><i role="img" aria-label="machine and service"></i></summary><pre></pre><p class="note">This is not all of it: line 4 of session.jsonl is.</p></details>
    "#);
}

#[test]
fn json_is_shown_as_far_as_it_is_bearable() {
    let deep: Value = (0..100).fold(json!(["ä"]), |inner, _| json!([inner]));
    let entry = entry(4, &json!({"kind": "in", "bytes": 1, "json": deep}));
    for most_bytes in [0, 1, 500, 501, 502, 503, 30_000] {
        let shown = raw::json(&entry.entry, false, most_bytes).into_string();
        assert!(!shown.contains('\u{fffd}'));
        assert_eq!(shown.contains("line 5 of session.jsonl"), most_bytes < 30_000, "{most_bytes}");
    }
}

#[test]
fn numbers_fit_their_places_whatever_they_are() {
    assert_eq!(
        [0.0, 12.345_6, 1e7, 1e308, -1e308].map(clock),
        ["0.000", "12.346", "1.000e7", "1.000e308", "-1.000e308"]
    );
    let shown = [0.0, 0.000_328, 0.0123, 1.5, 247.2, 1e300, -1.0].map(seconds);
    assert_eq!(shown, ["0 µs", "328 µs", "12.3 ms", "1.50 s", "4:07", "1.000e300 s", "-1.000e0 s"]);
    assert_eq!([0, 999, 1000, 1001, 4_200_000].map(bytes), ["0 bytes", "999 bytes", "1 kB", "2 kB", "4.2 MB"]);
}
