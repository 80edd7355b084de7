//! Decides about a scenario from what was seen. Pure: no clock, no threads, no sockets.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::pattern::{Expected, Fact, Lane, Message};
use crate::config::Generation;
use crate::local_service::is_ending;

/// Maximum number of facts of a scenario. A machine that sends more fails it.
const FACTS_LIMIT: usize = 20_000;

/// A check of all messages of a scenario so far. Numbers may start over with each connection: it is not known whether
/// the factory's machine counts by connection or by process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Check {
    /// The `id` of each message is higher than the one before.
    IdsIncrease,
    /// The `timestamp` of each message is at least the one before.
    TimestampsDoNotDecrease,
}

/// Whether something expected has been seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Yes,
    NotYet,
    /// It cannot come any more, or the machine did something wrong.
    Wrong(String),
}

/// Everything seen in one scenario, and what follows from it.
#[derive(Debug)]
pub(super) struct Judge {
    generation: Generation,
    /// What is added to the small ids of the scenario.
    offset: i64,
    facts: Vec<Fact>,
    /// How many of the facts an earlier step of the same lane has passed.
    lanes: BTreeMap<Lane, usize>,
    /// What the machine must not do any more.
    never: Vec<Expected>,
    /// The ending of each action of the scenario.
    ended: BTreeMap<i64, String>,
    violation: Option<String>,
}

impl Judge {
    /// Creates the judge of a scenario whose ids are `offset` + 1 to `offset` + 99.
    pub(super) fn new(generation: Generation, offset: i64) -> Self {
        Self {
            generation,
            offset,
            facts: Vec::new(),
            lanes: BTreeMap::new(),
            never: Vec::new(),
            ended: BTreeMap::new(),
            violation: None,
        }
    }

    /// Adds something seen.
    pub(super) fn add(&mut self, fact: Fact) {
        if self.facts.len() == FACTS_LIMIT {
            self.violate(format_args!("the machine sent more than {FACTS_LIMIT} messages and requests"));
            return;
        }
        if let Some(wrong) = self.never.iter().find_map(|never| forbidden(never, &fact, self.offset)) {
            self.violate(wrong);
        }
        match &fact {
            Fact::NotJson => self.violate("the machine sent a line that is not a JSON object"),
            Fact::Message(message) => self.check_end(message),
            _ => {}
        }
        self.facts.push(fact);
    }

    /// The first thing that the machine did wrong stays.
    fn violate(&mut self, what: impl fmt::Display) {
        self.violation.get_or_insert_with(|| what.to_string());
    }

    /// Returns the small id of an action of this scenario.
    fn small_id(&self, message: &Message) -> Option<i64> {
        let id = message.action_id?.checked_sub(self.offset)?;
        (1..100).contains(&id).then_some(id)
    }

    /// Notes the end of an action. Nothing more may be sent of it.
    fn check_end(&mut self, message: &Message) {
        let name = &message.name;
        let Some(id) = self.small_id(message) else { return };
        let is_end = !message.is_progress && is_ending(name);
        match self.ended.get(&id) {
            Some(end) if is_end => {
                let what = format!("action {id} ended twice: {end}, then {name}");
                self.violate(what);
            }
            // A 1.x machine sends `<action>:reset` and others after the end (from captured sessions).
            Some(end) if self.generation == Generation::V2 => {
                let what = format!("{name} of action {id} was sent after its end, {end}");
                self.violate(what);
            }
            None if is_end => _ = self.ended.insert(id, name.clone()),
            _ => {}
        }
    }

    /// From now on, an event or a request is a violation. So is one that was seen already, behind what was found in its
    /// lane.
    pub(super) fn never(&mut self, never: Expected) {
        let start = self.lanes.get(&never.lane()).copied().unwrap_or_default();
        if let Some(wrong) = self.facts[start..].iter().find_map(|fact| forbidden(&never, fact, self.offset)) {
            self.violate(wrong);
        }
        self.never.push(never);
    }

    /// Returns where to look for something: behind what was found in its lane, and for a message also behind the last
    /// request that was found. A machine sends a message about a request when it has the response; the service has seen
    /// the request before. The other way around there is no order: a request can overtake a message.
    fn start(&self, lane: Lane) -> usize {
        let behind = |lane| self.lanes.get(&lane).copied().unwrap_or_default();
        match lane {
            Lane::Action(_) | Lane::Messages => behind(lane).max(behind(Lane::Requests)),
            Lane::Requests | Lane::Connections | Lane::Pings => behind(lane),
        }
    }

    /// Looks for something in its lane, behind what was found there before.
    pub(super) fn find(&mut self, expected: &Expected) -> Found {
        if let Some(violation) = &self.violation {
            return Found::Wrong(violation.clone());
        }
        let lane = expected.lane();
        let behind_own = self.lanes.get(&lane).copied().unwrap_or_default();
        let start = self.start(lane);
        if let Some(at) = self.facts[start..].iter().position(|fact| expected.matches(fact, self.offset)) {
            self.lanes.insert(lane, start + at + 1);
            return Found::Yes;
        }
        let after = if start > behind_own { " after the request before it" } else { "" };
        match (expected, lane) {
            (Expected::Event(_) | Expected::Progress(_), Lane::Action(id)) => match self.ended.get(&id) {
                Some(end) => Found::Wrong(format!("action {id} ended with {end}, without {expected}{after}")),
                None => Found::NotYet,
            },
            _ => Found::NotYet,
        }
    }

    /// Lets the lane of connections begin here: what comes next is behind a cut.
    pub(super) fn skip_connections(&mut self) {
        self.lanes.insert(Lane::Connections, self.facts.len());
    }

    /// Returns what the machine did wrong, if anything.
    pub(super) fn violation(&self) -> Option<String> {
        self.violation.clone()
    }

    /// Returns whether an action has ended.
    pub(super) fn has_ended(&self, id: i64) -> bool {
        self.ended.contains_key(&id)
    }

    /// Returns whether the machine has said anything of an action.
    pub(super) fn has_begun(&self, id: i64) -> bool {
        self.facts.iter().any(|fact| matches!(fact, Fact::Message(message) if self.small_id(message) == Some(id)))
    }

    /// Returns what is wrong with the messages so far.
    pub(super) fn check(&self, check: Check) -> Option<String> {
        let (mut last, mut count) = (None, 0);
        for fact in &self.facts {
            match fact {
                Fact::Opened { .. } => last = None,
                Fact::Message(message) => {
                    let value = match check {
                        Check::IdsIncrease => message.id,
                        Check::TimestampsDoNotDecrease => message.timestamp,
                    };
                    let Some(value) = value else { return Some(format!("{} has no {check}", message.name)) };
                    let is_good = last.is_none_or(|last| match check {
                        Check::IdsIncrease => value > last,
                        Check::TimestampsDoNotDecrease => value >= last,
                    });
                    if let Some(last) = last.filter(|_| !is_good) {
                        return Some(format!("the {check} of {} is {value}, after {last}", message.name));
                    }
                    last = Some(value);
                    count += 1;
                }
                _ => {}
            }
        }
        (count < 2).then(|| "there are fewer than two messages to compare".to_owned())
    }
}

/// Returns what is wrong if `fact` is what must never be.
fn forbidden(never: &Expected, fact: &Fact, offset: i64) -> Option<String> {
    let what = match fact {
        _ if !never.matches(fact, offset) => return None,
        Fact::Message(message) => format!("{} was sent", message.name),
        Fact::Request { method, path, .. } => format!("{method} {path} was requested"),
        _ => "this was seen".to_owned(),
    };
    Some(format!("{what}, but {never} must not be"))
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IdsIncrease => "id",
            Self::TimestampsDoNotDecrease => "timestamp",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::local_service::Bearer;

    const OFFSET: i64 = 1000;

    fn judge() -> Judge {
        Judge::new(Generation::V2, OFFSET)
    }

    fn message(name: &str, id: i64) -> Message {
        Message { name: name.to_owned(), action_id: Some(OFFSET + id), ..Message::default() }
    }

    fn event(name: &str, id: i64) -> Fact {
        Fact::Message(message(name, id))
    }

    fn expected(name: &str, id: i64) -> Expected {
        Expected::Event(serde_json::from_value(json!({"name": name, "id": id})).unwrap())
    }

    fn get(path: &str) -> Expected {
        Expected::Request(serde_json::from_value(json!({"method": "GET", "path": path})).unwrap())
    }

    fn request(path: &str) -> Fact {
        let (method, path) = ("GET".to_owned(), path.to_owned());
        Fact::Request { method, path, status: 200, bearer: Bearer::Absent, has_user_agent: true }
    }

    /// Adds events of action 1, and returns the violation.
    fn violation_of(names: &[&str]) -> Option<String> {
        let mut judge = judge();
        for name in names {
            judge.add(event(name, 1));
        }
        judge.violation()
    }

    #[test]
    fn events_of_an_action_are_found_in_order() {
        let mut judge = judge();
        assert_eq!(judge.find(&expected("print:starting", 1)), Found::NotYet);
        judge.add(event("print:starting", 1));
        judge.add(event("hunt:starting", 2));
        judge.add(event("print:running", 1));
        assert_eq!(judge.find(&expected("print:running", 1)), Found::Yes);
        assert_eq!(judge.find(&expected("print:starting", 1)), Found::NotYet);
        // Each action has an order of its own.
        assert_eq!(judge.find(&expected("hunt:*", 2)), Found::Yes);
        assert_eq!(judge.find(&expected("hunt:*", 2)), Found::NotYet);
    }

    #[test]
    fn an_action_that_ended_otherwise_is_not_waited_for() {
        let mut judge = judge();
        judge.add(event("print:failed", 1));
        let wrong = "action 1 ended with print:failed, without print:running of action 1".to_owned();
        assert_eq!(judge.find(&expected("print:running", 1)), Found::Wrong(wrong));
        assert_eq!(judge.find(&expected("print:completed|print:failed", 1)), Found::Yes);
    }

    #[test]
    fn an_action_ends_once_and_says_nothing_afterwards() {
        assert_eq!(violation_of(&["a:download:completed", "a:completed"]), None);
        let twice = Some("action 1 ended twice: a:completed, then a:failed".to_owned());
        assert_eq!(violation_of(&["a:completed", "a:failed"]), twice);
        let late = Some("a:reset of action 1 was sent after its end, a:completed".to_owned());
        assert_eq!(violation_of(&["a:completed", "a:reset"]), late);
        let mut old = Judge::new(Generation::V1, OFFSET);
        for name in ["a:completed", "a:reset"] {
            old.add(event(name, 1));
        }
        assert_eq!(old.violation(), None);
        old.add(event("a:completed", 1));
        assert_eq!(old.violation(), Some("action 1 ended twice: a:completed, then a:completed".to_owned()));
    }

    #[test]
    fn progress_does_not_end_an_action_but_is_wrong_after_its_end() {
        let progress = |name: &str| Fact::Message(Message { is_progress: true, ..message(name, 1) });
        let mut judge = judge();
        judge.add(progress("print:completed"));
        assert!(!judge.has_ended(1) && judge.violation().is_none());
        judge.add(event("print:completed", 1));
        judge.add(progress("print:progress"));
        let late = "print:progress of action 1 was sent after its end, print:completed";
        assert_eq!(judge.violation().as_deref(), Some(late));
    }

    #[test]
    fn actions_of_other_scenarios_count_for_nothing() {
        let mut judge = judge();
        for id in [0, -50, 100, i64::MIN - OFFSET.wrapping_neg().wrapping_sub(OFFSET)] {
            judge.add(Fact::Message(Message { action_id: OFFSET.checked_add(id), ..message("a:failed", 0) }));
            judge.add(Fact::Message(Message { action_id: OFFSET.checked_add(id), ..message("a:failed", 0) }));
        }
        assert_eq!(judge.violation(), None);
    }

    #[test]
    fn what_must_never_be_is_found_before_and_after() {
        let mut before = judge();
        before.add(event("motion:starting", 2));
        before.never(expected("motion:*", 2));
        let wrong = "motion:starting was sent, but motion:* of action 2 must not be";
        assert_eq!(before.violation().as_deref(), Some(wrong));
        let mut after = judge();
        after.never(expected("*", 2));
        after.add(event("motion:starting", 1));
        assert_eq!(after.violation(), None);
        after.add(event("motion:starting", 2));
        assert_eq!(after.find(&expected("motion:starting", 1)), Found::Wrong(after.violation().unwrap()));
    }

    #[test]
    fn what_must_never_be_again_may_have_been_found() {
        let mut judge = judge();
        judge.add(event("motion:starting", 1));
        assert_eq!(judge.find(&expected("motion:starting", 1)), Found::Yes);
        judge.never(expected("motion:starting", 1));
        assert_eq!(judge.violation(), None);
        judge.add(event("motion:starting", 1));
        assert!(judge.violation().is_some());
    }

    #[test]
    fn a_request_can_be_what_must_never_be() {
        let mut judge = judge();
        judge.never(get("/dl/"));
        judge.add(request("/up/1"));
        assert_eq!(judge.violation(), None);
        judge.add(request("/dl/short.puls"));
        let wrong = "GET /dl/short.puls was requested, but GET /dl/ must not be";
        assert_eq!(judge.violation().as_deref(), Some(wrong));
        let mut before = self::judge();
        before.add(request("/dl/short.puls"));
        before.never(get("/dl/"));
        assert!(before.violation().is_some());
    }

    #[test]
    fn an_event_is_looked_for_behind_the_request_before_it() {
        let mut judge = judge();
        for fact in [event("a:starting", 1), event("a:completed", 1), request("/up/1")] {
            judge.add(fact);
        }
        assert_eq!(judge.find(&expected("a:starting", 1)), Found::Yes);
        assert_eq!(judge.find(&get("/up/")), Found::Yes);
        let wrong =
            "action 1 ended with a:completed, without a:completed of action 1 after the request before it".to_owned();
        assert_eq!(judge.find(&expected("a:completed", 1)), Found::Wrong(wrong));
        // A request can overtake an event.
        let mut judge = self::judge();
        judge.add(request("/up/1"));
        judge.add(event("a:starting", 1));
        assert_eq!(judge.find(&expected("a:starting", 1)), Found::Yes);
        assert_eq!(judge.find(&get("/up/")), Found::Yes);
    }

    #[test]
    fn a_line_that_is_not_json_is_a_violation() {
        let mut judge = judge();
        judge.add(Fact::NotJson);
        assert_eq!(judge.violation().as_deref(), Some("the machine sent a line that is not a JSON object"));
    }

    #[test]
    fn a_cut_leaves_the_connections_before_it_behind() {
        let mut judge = judge();
        let connection = Expected::Connection { subprotocol: Some(true) };
        judge.add(Fact::Opened { subprotocol: true });
        judge.skip_connections();
        assert_eq!(judge.find(&connection), Found::NotYet);
        judge.add(Fact::Opened { subprotocol: false });
        assert_eq!(judge.find(&connection), Found::NotYet);
        judge.add(Fact::Opened { subprotocol: true });
        assert_eq!(judge.find(&connection), Found::Yes);
    }

    #[test]
    fn numbers_may_start_over_with_a_connection_only() {
        let numbered = |id: Option<i64>| Fact::Message(Message { id, timestamp: Some(5), ..message("a", 1) });
        let check = |facts: Vec<Fact>, check| {
            let mut judge = judge();
            for fact in facts {
                judge.add(fact);
            }
            judge.check(check)
        };
        let opened = || Fact::Opened { subprotocol: true };
        let good = || vec![numbered(Some(7)), numbered(Some(9)), opened(), numbered(Some(1))];
        assert_eq!(check(good(), Check::IdsIncrease), None);
        assert_eq!(check(good(), Check::TimestampsDoNotDecrease), None);
        let same = check(vec![numbered(Some(7)), numbered(Some(7))], Check::IdsIncrease);
        assert_eq!(same.as_deref(), Some("the id of a is 7, after 7"));
        assert_eq!(check(vec![numbered(None)], Check::IdsIncrease).as_deref(), Some("a has no id"));
        assert!(check(vec![numbered(Some(1))], Check::IdsIncrease).is_some());
    }

    #[test]
    fn a_flood_is_a_violation_and_not_kept() {
        let mut judge = judge();
        (0..=FACTS_LIMIT).for_each(|_| judge.add(Fact::Ping));
        assert_eq!(judge.facts.len(), FACTS_LIMIT);
        assert!(judge.violation().unwrap().contains("more than 20000"));
    }
}
