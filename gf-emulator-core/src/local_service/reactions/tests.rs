//! The state machine alone: the captured session, what may go wrong, and random sessions with a model of a machine.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const TENTH: Duration = Duration::from_millis(100);

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn event(name: &str, action_id: Option<i64>) -> ReceivedEvent {
    ReceivedEvent { name: name.to_owned(), action_id, has_values: false }
}

/// A session in which the test plays the machine.
struct Session {
    reactions: Reactions,
    now: Duration,
    /// The last action that was sent.
    sent: Option<(i64, Kind)>,
    reports: Vec<BehaviourChange>,
}

impl Session {
    /// A machine that has just connected and reported its settings, with values or without.
    fn new(prints: usize, has_values: bool) -> Self {
        let reactions = Reactions::new(prints, 1.0);
        let mut session = Self { reactions, now: Duration::ZERO, sent: None, reports: Vec::new() };
        session.connect(has_values);
        session
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send { id, kind } => self.sent = Some((id, kind)),
                Output::Report(change) => self.reports.push(change),
            }
        }
    }

    fn connect(&mut self, has_values: bool) {
        let outputs = self.reactions.connected();
        self.take(outputs);
        let (id, kind) = self.sent.take().unwrap();
        assert_eq!(kind, Kind::Settings);
        let report = ReceivedEvent { has_values, ..event("settings:completed", Some(id)) };
        let outputs = self.reactions.event(self.now, &report);
        self.take(outputs);
    }

    fn event(&mut self, name: &str, action_id: Option<i64>) {
        let outputs = self.reactions.event(self.now, &event(name, action_id));
        self.take(outputs);
    }

    /// Takes the action that was sent, which must be of this kind. Returns its `id`.
    fn expect(&mut self, kind: Kind) -> i64 {
        let (id, sent) = self.sent.take().unwrap_or_else(|| panic!("nothing was sent, expected {kind:?}"));
        assert_eq!(sent, kind);
        id
    }

    /// Takes an action and ends it.
    fn end(&mut self, kind: Kind, ending: &str) {
        let id = self.expect(kind);
        for phase in ["starting", ending] {
            self.event(&format!("{}:{phase}", kind.action_type()), Some(id));
        }
    }

    fn complete(&mut self, kinds: &[Kind]) {
        for kind in kinds {
            self.end(*kind, "completed");
        }
    }

    /// Nothing is sent until this time has passed since now.
    fn expect_after(&mut self, delay: Duration, kind: Kind) -> i64 {
        assert_eq!(self.sent, None);
        let at = self.now + delay;
        assert_eq!(self.reactions.deadline(), Some(at));
        let outputs = self.reactions.time_passed(self.now + delay / 2);
        assert_eq!(outputs, []);
        self.now = at;
        let outputs = self.reactions.time_passed(at);
        self.take(outputs);
        let (id, sent) = self.sent.unwrap();
        assert_eq!(sent, kind);
        id
    }

    fn expect_silence(&self) {
        assert_eq!((self.sent, self.reactions.deadline()), (None, None));
    }

    fn homed(prints: usize) -> Self {
        let mut session = Self::new(prints, true);
        session.complete(&HOMING);
        assert_eq!(
            session.reports.last().unwrap(),
            &if prints == 0 { BehaviourChange::Homed } else { print(1, PrintState::Sent) }
        );
        session
    }
}

fn print(number: usize, state: PrintState) -> BehaviourChange {
    BehaviourChange::Print { number, state }
}

#[test]
fn homes_as_captured_with_the_lid_open_at_first() {
    let mut session = Session::new(0, true);
    assert_eq!(session.reports, [BehaviourChange::HomingStarted]);
    session.complete(&[Kind::Hunt, Kind::LidImage]);
    // The lid was open before the machine connected: it has not said so.
    session.end(Kind::Motion(0), "cancelled");
    session.expect_silence();
    assert_eq!(session.reports.last(), Some(&BehaviourChange::WaitingForLid));
    session.now += seconds(19.0);
    session.event("lid:closed", None);
    session.expect_after(seconds(0.29), Kind::LidImage);
    session.complete(&[Kind::LidImage, Kind::Motion(0), Kind::LidImage, Kind::Motion(1), Kind::LidImage]);
    assert!(!session.reactions.is_idle());
    session.complete(&[Kind::Motion(2), Kind::LidImage]);
    session.expect_silence();
    assert_eq!(session.reports.last(), Some(&BehaviourChange::Homed));
    assert!(session.reactions.is_idle());
}

#[test]
fn a_picture_that_failed_is_taken_again_when_the_lid_is_closed() {
    let mut session = Session::new(0, true);
    session.complete(&[Kind::Hunt]);
    session.end(Kind::LidImage, "failed");
    session.expect_silence();
    session.event("lid:closed", None);
    session.expect_after(seconds(0.29), Kind::LidImage);
    session.complete(&HOMING[1..]);
    assert!(session.reactions.is_idle());
}

#[test]
fn an_open_lid_holds_everything_but_the_hunt() {
    let mut session = Session::new(0, true);
    session.event("lid:opened", None);
    session.complete(&[Kind::Hunt]);
    session.expect_silence();
    session.event("lid:closed", None);
    session.expect_after(seconds(0.29), Kind::LidImage);
    // Opened while the picture is taken: the motion waits, and its picture is taken again.
    session.event("lid:opened", None);
    session.complete(&[Kind::LidImage]);
    session.expect_silence();
    session.event("lid:closed", None);
    session.event("lid:opened", None);
    session.expect_silence();
    session.event("lid:closed", None);
    session.expect_after(seconds(0.29), Kind::LidImage);
    session.complete(&HOMING[1..]);
}

#[test]
fn a_short_opening_in_a_motion_needs_no_second_closing() {
    let mut session = Session::new(0, true);
    session.complete(&[Kind::Hunt, Kind::LidImage]);
    session.event("lid:opened", None);
    session.event("lid:closed", None);
    session.end(Kind::Motion(0), "cancelled");
    assert!(!session.reports.contains(&BehaviourChange::WaitingForLid));
    session.expect_after(seconds(0.29), Kind::LidImage);
    session.complete(&HOMING[1..]);
    assert!(session.reactions.is_idle());
}

#[test]
fn a_closed_lid_brings_a_picture_at_rest() {
    let mut session = Session::homed(0);
    session.event("lid:opened", None);
    session.expect_silence();
    assert!(session.reactions.is_idle());
    session.event("lid:closed", None);
    assert!(!session.reactions.is_idle());
    session.expect_after(seconds(0.29), Kind::LidImage);
    session.complete(&[Kind::LidImage]);
    session.expect_silence();
}

#[test]
fn prints_the_queue_with_a_hunt_after_each() {
    let mut session = Session::homed(2);
    for (number, ending) in [(0, "completed"), (1, "cancelled")] {
        let id = session.expect(Kind::Print(number));
        for phase in ["starting", "download:completed", "warmup:starting", "running", "paused", "resumed", ending] {
            session.event(&format!("print:{phase}"), Some(id));
        }
        session.expect_after(seconds(0.44), Kind::Hunt);
        session.complete(&[Kind::Hunt]);
    }
    session.expect_silence();
    assert!(session.reactions.is_idle());
    let running = [PrintState::Running, PrintState::Paused, PrintState::Running];
    let states = |number, end| {
        let states = [PrintState::Sent, PrintState::WaitingForButton].into_iter().chain(running).chain([end]);
        states.map(move |state| print(number, state))
    };
    let expected: Vec<_> = [print(1, PrintState::Queued), print(2, PrintState::Queued)]
        .into_iter()
        .chain([BehaviourChange::HomingStarted, BehaviourChange::Homed])
        .chain(states(1, PrintState::Completed))
        .chain(states(2, PrintState::Cancelled))
        .collect();
    assert_eq!(session.reports, expected);
}

#[test]
fn a_print_stopped_by_the_lid_brings_a_hunt_and_the_next_waits() {
    let mut session = Session::homed(2);
    session.event("lid:opened", None);
    session.end(Kind::Print(0), "cancelled");
    session.expect_after(seconds(0.44), Kind::Hunt);
    session.complete(&[Kind::Hunt]);
    session.expect_silence();
    session.event("lid:closed", None);
    session.expect_after(seconds(0.29), Kind::LidImage);
    session.complete(&[Kind::LidImage, Kind::Print(1)]);
}

#[test]
fn an_empty_first_report_skips_homing() {
    let mut session = Session::new(1, false);
    assert_eq!(session.reports[1], BehaviourChange::HomingSkipped);
    session.complete(&[Kind::Print(0)]);
    session.expect_after(seconds(0.44), Kind::Hunt);
    session.complete(&[Kind::Hunt]);
    assert!(session.reactions.is_idle());
}

#[test]
fn a_reconnected_machine_goes_on_where_it_was() {
    let mut session = Session::new(1, true);
    session.complete(&HOMING[..2]);
    let id = session.expect(Kind::Motion(0));
    session.event("motion:starting", Some(id));
    session.connect(false);
    session.expect_silence();
    session.event("motion:completed", Some(id));
    // Not begun: sent again.
    let lost = session.expect(Kind::LidImage);
    session.connect(false);
    assert_eq!(session.sent, Some((lost, Kind::LidImage)));
    session.complete(&HOMING[3..]);
    session.complete(&[Kind::Print(0)]);
    session.expect_after(seconds(0.44), Kind::Hunt);
    session.sent = None;
    session.connect(false);
    session.complete(&[Kind::Hunt]);
    assert!(session.reactions.is_idle());
    session.connect(false);
    session.expect_silence();
}

#[test]
fn an_action_counts_whose_first_event_was_lost_with_the_connection() {
    let mut session = Session::new(1, true);
    for kind in HOMING {
        let id = session.expect(kind);
        session.connect(false);
        assert_eq!(session.sent.take(), Some((id, kind)), "the machine ignores it: it is doing this");
        session.event(&format!("{}:completed", kind.action_type()), Some(id));
    }
    session.complete(&[Kind::Print(0)]);
}

#[test]
fn an_action_that_was_lost_waits_for_the_lid() {
    for is_closed in [false, true] {
        let mut session = Session::new(0, true);
        session.complete(&HOMING[..2]);
        let lost = session.expect(Kind::Motion(0));
        session.event("lid:opened", None);
        if is_closed {
            session.event("lid:closed", None);
        }
        session.connect(false);
        assert_eq!(session.sent, None);
        if !is_closed {
            session.expect_silence();
            session.event("lid:closed", None);
        }
        session.expect_after(seconds(0.29), Kind::LidImage);
        session.complete(&[Kind::LidImage]);
        assert!(session.expect(Kind::Motion(0)) > lost);
    }
}

#[test]
fn a_restarted_machine_is_homed_again_and_its_print_has_failed() {
    let mut session = Session::homed(2);
    let id = session.expect(Kind::Print(0));
    session.event("print:starting", Some(id));
    session.connect(true);
    let last = &session.reports[session.reports.len() - 2..];
    assert_eq!(last, [print(1, PrintState::Failed), BehaviourChange::HomingStarted]);
    session.complete(&HOMING);
    session.complete(&[Kind::Print(1)]);
}

#[test]
fn ignores_events_of_other_actions() {
    let mut session = Session::new(0, true);
    let id = session.expect(Kind::Hunt);
    for (name, action_id) in [
        ("hunt:completed", None),
        ("hunt:completed", Some(id + 1)),
        ("motion:completed", Some(id)),
        ("hunter:completed", Some(id)),
        ("hunt:download:completed", Some(id)),
        ("settings:completed", Some(id)),
    ] {
        session.event(name, action_id);
        session.expect_silence();
    }
    session.event("hunt:completed", Some(id));
    session.expect(Kind::LidImage);
}

/// What happens next in a random session.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The machine reads the next message of the service.
    Receive,
    /// The machine finishes what it does.
    Finish,
    /// The service reads the next message of the machine.
    Deliver,
    /// Somebody opens or closes the lid.
    Lid,
    /// The connection is lost: what the machine has not read is lost, what it has not sent is sent later.
    Cut,
    /// As `Cut`, and the first event of an action is lost as well.
    Reset,
    /// A while passes.
    Time,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Receive),
        6 => Just(Step::Finish),
        8 => Just(Step::Deliver),
        1 => Just(Step::Lid),
        1 => Just(Step::Cut),
        1 => Just(Step::Reset),
        3 => Just(Step::Time),
    ]
}

/// A model of a machine of firmware 2.6, and of the connection.
struct Model {
    reactions: Reactions,
    now: Duration,
    to_machine: VecDeque<(i64, Kind)>,
    to_service: VecDeque<ReceivedEvent>,
    lid_open: bool,
    has_reported: bool,
    running: Option<(i64, Kind)>,
    /// The last action, which it ignores if it comes again. (A machine that has ended it just before does it again.)
    last_id: Option<i64>,
    /// The motions and prints that were completed.
    done: Vec<Kind>,
    /// The prints that have ended.
    ended: Vec<usize>,
}

impl Model {
    fn new(prints: usize) -> Self {
        let reactions = Reactions::new(prints, 1.0);
        let mut model = Self {
            reactions,
            now: Duration::ZERO,
            to_machine: VecDeque::new(),
            to_service: VecDeque::new(),
            lid_open: false,
            has_reported: false,
            running: None,
            last_id: None,
            done: Vec::new(),
            ended: Vec::new(),
        };
        model.connect();
        model
    }

    fn connect(&mut self) {
        self.to_machine.clear();
        let outputs = self.reactions.connected();
        self.take(outputs);
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            if let Output::Send { id, kind } = output {
                let needs_lid = !matches!(kind, Kind::Settings | Kind::Hunt);
                assert!(
                    !(needs_lid && self.reactions.lid_open),
                    "{kind:?} was sent although the lid is known to be open"
                );
                self.to_machine.push_back((id, kind));
            }
        }
    }

    fn say(&mut self, name: &str, action_id: Option<i64>) {
        self.to_service.push_back(event(name, action_id));
    }

    fn finish(&mut self, ending: &str) {
        let Some((id, kind)) = self.running.take() else { return };
        if ending == "completed" && matches!(kind, Kind::Motion(_)) {
            self.done.push(kind);
        }
        if let Kind::Print(number) = kind {
            self.ended.push(number);
        }
        self.say(&format!("{}:{ending}", kind.action_type()), Some(id));
    }

    fn receive(&mut self) {
        let Some((id, kind)) = self.to_machine.pop_front() else { return };
        if kind == Kind::Settings {
            let has_values = !std::mem::replace(&mut self.has_reported, true);
            self.to_service.push_back(ReceivedEvent { has_values, ..event("settings:completed", Some(id)) });
            return;
        }
        if self.last_id == Some(id) {
            return;
        }
        match self.running {
            // It waits for its turn.
            Some((_, Kind::LidImage)) => return self.to_machine.push_front((id, kind)),
            Some((_, running)) => panic!("{kind:?} was sent while the machine does {running:?}"),
            None => self.last_id = Some(id),
        }
        self.say(&format!("{}:starting", kind.action_type()), Some(id));
        self.running = Some((id, kind));
        if self.lid_open && kind != Kind::Hunt {
            self.finish(if kind == Kind::LidImage { "failed" } else { "cancelled" });
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Receive => self.receive(),
            Step::Finish => self.finish("completed"),
            Step::Deliver => {
                if let Some(event) = self.to_service.pop_front() {
                    let outputs = self.reactions.event(self.now, &event);
                    self.take(outputs);
                }
            }
            Step::Lid => {
                self.lid_open = !self.lid_open;
                self.say(if self.lid_open { "lid:opened" } else { "lid:closed" }, None);
                if self.lid_open && matches!(self.running, Some((_, Kind::Motion(_) | Kind::Print(_)))) {
                    self.finish("cancelled");
                }
            }
            Step::Cut => self.connect(),
            Step::Reset => {
                // With an open lid, the machine would have to report how it ended.
                let may_lose = !self.reactions.lid_open && self.reactions.picture_at.is_none();
                if may_lose && self.to_service.front().is_some_and(|event| event.name.ends_with(":starting")) {
                    self.to_service.pop_front();
                }
                self.connect();
            }
            Step::Time => {
                self.now += TENTH;
                let outputs = self.reactions.time_passed(self.now);
                self.take(outputs);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_session_ends_homed_and_printed(prints in 0_usize..3, steps in prop::collection::vec(step(), 0..200)) {
        let mut model = Model::new(prints);
        for step in steps {
            model.step(step);
        }
        if model.lid_open {
            model.step(Step::Lid);
        }
        for _ in 0..200 {
            for step in [Step::Receive, Step::Finish, Step::Deliver, Step::Time] {
                model.step(step);
            }
        }
        prop_assert!(model.reactions.is_idle() && model.to_service.is_empty() && model.running.is_none());
        // Each motion moved the head once, in order, whatever was interrupted.
        prop_assert_eq!(model.done, [Kind::Motion(0), Kind::Motion(1), Kind::Motion(2)]);
        prop_assert_eq!(model.ended, (0..prints).collect::<Vec<_>>());
    }
}
