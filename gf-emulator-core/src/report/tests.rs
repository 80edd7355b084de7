//! Timelines, rows and settings reports made from entries.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::diagram::{RowContext, row};
use super::model::{Channel, Outcome, Problem};
use super::timeline::{MAX_PROBLEMS, MAX_SHOWN, Timeline, Window};
use super::{page, settings};
use crate::record::{DisplayEntry, Entry, LineSpan, SkippedLine};

/// An entry that is in no file: the offset of its place is its number.
fn entry(n: u64, fields: &Value) -> DisplayEntry {
    let mut entry = json!({"n": n, "t": n as f64 / 10.0, "at": "2026-11-24T08:00:00.000Z"});
    entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let entry: Entry = serde_json::from_value(entry).unwrap();
    DisplayEntry { entry, is_truncated: false, place: LineSpan::for_test(n) }
}

fn empty(window: Window) -> Timeline {
    let about = json!({"format": 1, "recorder": "a test", "side": "machine", "service": "https://a"});
    Timeline::new(serde_json::from_value(about).unwrap(), window)
}

fn timeline(entries: &[Value]) -> Timeline {
    let mut timeline = empty(Window::From(0));
    (1..).zip(entries).for_each(|(n, fields)| timeline.add(&entry(n, fields)));
    timeline.finish(&[]);
    timeline
}

fn request(id: i64, kind: &str, url: &str) -> Value {
    let json = json!({"id": id, "action_type": kind, "status": "ready", "motion_url": url});
    json!({"kind": "in", "bytes": 1, "json": json})
}

fn event(id: i64, name: &str) -> Value {
    json!({"kind": "out", "bytes": 1, "json": {"event": name, "action_id": id}})
}

fn exchange(method: &str, url: &str, status: u16) -> Value {
    json!({"kind": "http", "method": method, "url": url, "status": status, "request": {"bytes": 0}})
}

/// Each action's ID, outcome and entry numbers.
fn actions(timeline: &Timeline) -> Vec<(i64, Option<Outcome>, Vec<u64>)> {
    let numbers = |places: &[LineSpan]| places.iter().map(|place| place.number()).collect();
    timeline.actions.values().map(|action| (action.id, action.outcome, numbers(&action.first_entries))).collect()
}

#[test]
fn groups_entries_by_id_by_url_and_by_the_only_open_action() {
    let timeline = timeline(&[
        exchange("POST", "https://a/machines/sign_in", 200),
        request(1, "print", "https://s/job?***"),
        request(2, "lid_image", "https://s/2"),
        event(1, "print:starting"),
        exchange("GET", "https://s/job", 200),
        exchange("PUT", "https://s/2", 200),
        exchange("POST", "https://a/api/machines/lid_image/2", 200),
        exchange("GET", "https://a/nobody's", 200),
        event(2, "lid_image:upload:completed"),
        event(2, "lid_image:completed"),
        exchange("GET", "https://a/update/current", 200),
        exchange("POST", "https://a/machines/sign_in", 200),
        json!({"kind": "out", "bytes": 1, "json": {"event": "button:pressed"}}),
        event(1, "print:completed"),
        event(1, "print:reset"),
    ]);
    let expected =
        [(1, Some(Outcome::Completed), vec![2, 4, 5, 11, 14, 15]), (2, Some(Outcome::Completed), vec![3, 6, 7, 9, 10])];
    assert_eq!(actions(&timeline), expected);
    let channels: Vec<_> = [0, 4, 5, 10].map(|index| timeline.shown[index].channel).into();
    assert_eq!(channels, [Channel::Service, Channel::Storage, Channel::Storage, Channel::Service]);
    assert_eq!(timeline.problems, []);
}

#[test]
fn reused_id_starts_a_new_action_once_the_first_has_ended() {
    let cancel = json!({"kind": "in", "bytes": 1, "json": {"id": 1, "action_type": "print", "status": "cancelled"}});
    let timeline = timeline(&[
        request(1, "print", "https://s/1"),
        request(1, "print", "https://s/1"),
        cancel.clone(),
        event(1, "print:cancelled"),
        cancel,
        request(1, "print", "https://s/1"),
        exchange("GET", "https://s/1", 200),
        // The end of an action that started before the recording.
        event(7, "motion:completed"),
    ]);
    let expected = [
        (1, Some(Outcome::Cancelled), vec![1, 2, 3, 4, 5]),
        (1, None, vec![6, 7]),
        (7, Some(Outcome::Completed), vec![8]),
    ];
    assert_eq!(actions(&timeline), expected);
    assert_eq!(timeline.actions[&2].action_type, "motion");
    let expected = [0, 1].map(|number| Problem::Action {
        number,
        id: 1,
        action_type: "print".into(),
        outcome: (number == 0).then_some(Outcome::Cancelled),
        reason: None,
    });
    assert_eq!(timeline.problems, expected);
}

#[test]
fn lists_problems_in_order() {
    let mut timeline = timeline(&[
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
    timeline.finish(std::slice::from_ref(&skipped));
    let problems: Vec<_> = timeline
        .problems
        .iter()
        .map(|problem| match problem {
            Problem::Entry { n, what, .. } => (*n, *what),
            Problem::Line(skipped) => (skipped.line, "line"),
            Problem::Action { .. } => panic!("{problem:?}"),
        })
        .collect();
    let expected = [(3, "request"), (4, "request"), (5, "message"), (8, "connection"), (10, "machine"), (9, "line")];
    assert_eq!(problems, expected);
}

#[test]
fn pairs_each_settings_report_with_the_previous_one_and_ignores_empty_ones() {
    let report = |settings: Value| json!({"kind": "out", "bytes": 1, "json": {"event": "settings:completed", "action_id": 1, "settings": settings}});
    let timeline = timeline(&[
        report(json!({"values": {"AAdc": 1, "HCil": 2}})),
        report(json!({})),
        report(json!({"values": {}})),
        json!({"kind": "out", "bytes": 1, "json": {"progress": "print:progress", "action_id": 1, "settings": {"values": {"CCbp": 1}}}}),
        report(json!({"AAdc": 1, "HCil": 3})),
    ]);
    let [first, last] = [1, 5].map(LineSpan::for_test);
    assert_eq!(timeline.actions[&0].reports, [(first, None), (last, Some(first))]);
}

#[test]
fn settings_are_grouped_by_subsystem_and_compared_with_the_previous_report() {
    let object = |value: Value| value.as_object().unwrap().clone();
    let before = object(json!({"AAdc": 204, "HCil": 0, "ZZzz": "<b>"}));
    let all = settings::all(&before).into_string();
    for words in [
        "3 settings in 3 subsystems",
        "<caption>AA <span>air assist</span></caption>",
        "<summary>1 more setting is 0</summary><p><code>HCil</code> </p>",
        "<caption>ZZ <span>(meaning not known)</span></caption><tr><th scope=\"row\">ZZzz</th><td>&lt;b&gt;</td></tr>",
    ] {
        assert!(all.contains(words), "{words}: {all}");
    }
    let now = object(json!({"AAdc": 204, "HCil": 1, "ÄÖü": 5}));
    let changes = settings::changes(&before, &now).into_string();
    for words in [
        "3 of 3 settings changed",
        "<th scope=\"row\">HCil</th><td>0</td><td>1</td>",
        "<td>&lt;b&gt;</td><td><span class=\"faint\">none</span></td>",
        "<th scope=\"row\">ÄÖü</th><td><span class=\"faint\">none</span></td><td>5</td>",
    ] {
        assert!(changes.contains(words), "{words}: {changes}");
    }
    assert!(!changes.contains("AAdc"));
    assert!(settings::changes(&now, &now).into_string().contains("0 of 3 settings changed"));
}

#[test]
fn the_state_tells_the_connection_the_lid_and_what_runs() {
    let opened = || json!({"kind": "opened", "url": "wss://s"});
    let progress = |current: u64| json!({"kind": "out", "bytes": 1, "json": {"progress": "print:progress", "action_id": 7, "current": current, "total": 200}});
    let state = |entries: &[Value], lid_is_open: bool| {
        let mut timeline = empty(Window::Latest);
        (1..).zip(entries).for_each(|(n, fields)| timeline.add(&entry(n, fields)));
        page::state(&timeline, lid_is_open).into_string()
    };
    let print = || request(7, "print", "https://s/7");
    for (entries, expected) in [
        (vec![], vec!["data-connection=\"none\"", "not connected to the service yet", "no action runs"]),
        (vec![opened()], vec!["data-connection=\"up\"", "data-lid=\"closed\"", "the lid is closed", "no action runs"]),
        (vec![opened(), print()], vec![">print 7: waits</span>"]),
        (vec![print(), event(7, "print:download")], vec![">print 7: download</span>"]),
        (
            vec![print(), event(7, "print:download:completed")],
            vec!["<span class=\"waits\">print 7: waits for the button</span>", " data-waits"],
        ),
        (vec![print(), event(7, "print:running"), progress(50)], vec![">print 7: 25 %</span>"]),
        (vec![print(), event(7, "print:running"), progress(50), event(7, "print:completed")], vec!["no action runs"]),
        (
            vec![opened(), json!({"kind": "closed", "reason": "<cut>"})],
            vec!["data-connection=\"down\"", "the service is away: &lt;cut&gt;"],
        ),
        (vec![opened(), json!({"kind": "state", "state": "stopped"})], vec!["></div>"]),
    ] {
        let state = state(&entries, false);
        for words in expected {
            assert!(state.contains(words), "{words}: {state}");
        }
        assert_eq!(state.contains("data-waits"), state.contains("waits for the button"), "{state}");
    }
    assert!(state(&[], true).contains("data-lid=\"open\"") && state(&[], true).contains("the lid is open"));
    let many: Vec<_> = (1..=5).map(|id| request(id, "hunt", &format!("https://s/{id}"))).collect();
    assert!(state(&many, false).contains("<span>and 2 more actions</span>"));
}

#[test]
fn action_keeps_the_reason_of_its_outcome() {
    let why = |id: i64| json!({"kind": "state", "state": "cancelled", "action_id": id, "detail": "the lid was opened"});
    let timeline = timeline(&[request(7, "print", "https://s/7"), why(7), event(7, "print:cancelled"), why(8)]);
    assert_eq!(timeline.actions[&0].reason.as_deref(), Some("the lid was opened"));
    assert_eq!(actions(&timeline), [(7, Some(Outcome::Cancelled), vec![1, 2, 3])]);
    // One problem, not two.
    let [Problem::Action { id: 7, reason: Some(reason), .. }] = &timeline.problems[..] else { panic!("{timeline:?}") };
    assert_eq!(reason, "the lid was opened");
}

#[test]
fn long_timeline_is_bounded() {
    // One action lasts the whole session. Of every three others one never ends, one completes and one fails.
    let third = MAX_SHOWN / 2;
    let mut entries = vec![entry(1, &request(-1, "print", "https://s/x"))];
    let mut add = |fields: Value| entries.push(entry(entries.len() as u64 + 1, &fields));
    for id in 0..i64::try_from(3 * third).unwrap() {
        add(request(id, &format!("kind{id}"), &format!("https://s/{id}")));
        match id % 3 {
            0 => add(event(-1, "print:progress")),
            1 => add(event(id, &format!("kind{id}:completed"))),
            _ => add(event(id, &format!("kind{id}:failed"))),
        }
    }
    let all = entries.len() as u64;
    for (window, first) in
        [(Window::From(0), 0), (Window::From(all / 2), all / 2), (Window::Latest, all - MAX_SHOWN as u64)]
    {
        let mut timeline = empty(window);
        for entry in &entries {
            timeline.add(entry);
        }
        timeline.finish(&[]);
        assert_eq!((timeline.entry_count, timeline.first_shown, timeline.shown.len()), (all, first, MAX_SHOWN));
        assert_eq!(timeline.shown[0].place.number(), first + 1);
        assert!(timeline.actions.len() < MAX_SHOWN, "{}", timeline.actions.len());
        let shown: Vec<_> = timeline.shown_actions().collect();
        assert!(shown.contains(&0), "the long action is on every page");
        let of_rows: BTreeSet<_> = timeline.shown.iter().filter_map(|entry| entry.action).collect();
        // The least recently active may be evicted before they end.
        let known = of_rows.iter().filter(|number| shown.contains(number)).count();
        assert!(known >= of_rows.len() / 2, "{known} of {}", of_rows.len());
        assert!(timeline.actions[&0].first_entries.len() + timeline.actions[&0].last_entries.len() <= 500);
        assert_eq!(timeline.actions[&0].entry_count(), third + 1);
        assert_eq!(timeline.problems.len(), MAX_PROBLEMS);
        let counts = timeline.counts;
        let ended = [Some(Outcome::Completed), Some(Outcome::Failed), Some(Outcome::Cancelled), None];
        assert_eq!(ended.map(|outcome| counts.with_outcome(outcome)), [third, third, 0, third + 1]);
    }
}

#[test]
fn renders_rows_without_context() {
    let rows: Vec<_> = [
        request(1, "print", "https://s/1"),
        event(1, "print:download:completed"),
        exchange("GET", "https://s/job", 404),
        json!({"kind": "closed", "reason": "cut"}),
    ]
    .iter()
    .map(|fields| row(&entry(3, fields), RowContext { json_bytes: 0, ..RowContext::default() }).into_string())
    .collect();
    insta::assert_snapshot!(rows.join("\n"), @r#"
    <details class="row in" id="e3" data-channel="status" data-outcome="none" data-action="print"><summary><time>0.300</time><span class="what">print <b>1</b> ready</span><i role="img" aria-label="service to machine"></i></summary><pre></pre><p class="note">Truncated. The full entry is line 4 of session.jsonl.</p></details>
    <details class="row out" id="e3" data-channel="status" data-outcome="none" data-action="print"><summary><time>0.300</time><span class="what">print:download:completed <b>1</b></span><i role="img" aria-label="machine to service"></i></summary><pre></pre><p class="note">Truncated. The full entry is line 4 of session.jsonl.</p></details>
    <details class="row storage problem" id="e3" data-channel="storage" data-outcome="failed"><summary><time>0.300</time><span class="what">GET /job → <b>404</b><small></small></span><i role="img" aria-label="machine to storage"></i></summary><pre></pre><p class="note">Truncated. The full entry is line 4 of session.jsonl.</p></details>
    <details class="row both problem" id="e3" data-channel="status" data-outcome="failed"><summary><time>0.300</time><span class="what">WebSocket closed: cut</span><i role="img" aria-label="machine and service"></i></summary><pre></pre><p class="note">Truncated. The full entry is line 4 of session.jsonl.</p></details>
    "#);
}
