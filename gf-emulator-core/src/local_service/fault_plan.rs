//! Which faults happen to which request, frame, message or connection. Pure and seeded: the same questions get the same
//! answers, in whatever order the machines ask (see [`Fault`]).

use std::collections::HashMap;
use std::time::Duration;

use super::fault::{Failure, Fault, Moment, Target};
use super::fault_random::Draws;
use super::frame_queue::FrameTreatment;
use super::link::WsEnd;
use super::protocol::is_connecting;

/// Maximum number of machines with a state of their own. All later ones share the last.
const MACHINES_LIMIT: u64 = 1000;
/// Added to the numbers of faults that only one machine has.
const OWN_FAULTS: u64 = 1 << 32;

/// All faults, and what has happened to each machine so far.
#[derive(Debug)]
pub(super) struct FaultPlan {
    seed: u64,
    faults: Vec<Fault>,
    /// The numbers of the machines, counted from 1.
    numbers: HashMap<String, u64>,
    machines: HashMap<u64, MachineState>,
}

#[derive(Debug, Default)]
struct MachineState {
    /// The faults that only this machine has, each with its number.
    own: Vec<(u64, Fault)>,
    own_added: u64,
    /// By the number of the fault.
    tallies: HashMap<u64, Tally>,
    /// What the machine has sent on its current connection.
    messages: u64,
    bytes: u64,
}

/// What has happened with one fault.
#[derive(Debug, Default)]
struct Tally {
    /// How often it could have happened.
    matched: [u64; 4],
    happened: u64,
}

/// What is counted separately, because a machine does it in separate threads.
#[derive(Debug, Clone, Copy)]
enum Lane {
    /// Sign-ins, handshakes and connections.
    Connecting,
    Requests,
    Frames,
    Messages,
}

/// What happens to a request.
#[derive(Debug, Default, PartialEq)]
pub(super) struct RequestTreatment {
    pub(super) failure: Option<Failure>,
    pub(super) expires_tokens: bool,
    pub(super) delay: Duration,
    /// `None` for no limit.
    pub(super) bytes_per_s: Option<u64>,
}

/// What happens to a frame, or instead of it.
#[derive(Debug, PartialEq)]
pub(super) enum FrameDecision {
    Send(FrameTreatment),
    End(WsEnd),
}

impl FaultPlan {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, faults: Vec::new(), numbers: HashMap::new(), machines: HashMap::new() }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the number of a machine, which it gets at the first call.
    pub(super) fn number_of(&mut self, serial: &str) -> u64 {
        if let Some(number) = self.numbers.get(serial) {
            return *number;
        }
        let number = self.numbers.len() as u64 + 1;
        if number >= MACHINES_LIMIT {
            return MACHINES_LIMIT;
        }
        self.numbers.insert(serial.to_owned(), number);
        number
    }

    /// Returns whether a machine has this number.
    pub(super) fn has_machine(&self, number: u64) -> bool {
        (1..=self.numbers.len() as u64).contains(&number) || number == MACHINES_LIMIT
    }

    /// Adds a fault of all machines.
    pub(super) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Adds a fault of one machine.
    pub(super) fn add_for(&mut self, machine: u64, fault: Fault) {
        let state = self.machines.entry(machine).or_default();
        state.own.push((OWN_FAULTS + state.own_added, fault));
        state.own_added += 1;
    }

    /// Removes all faults. Machines keep their numbers.
    pub(super) fn clear(&mut self) {
        self.faults.clear();
        for state in self.machines.values_mut() {
            state.own.clear();
            // The next faults get the same numbers.
            state.tallies.clear();
        }
    }

    /// Returns the first fault that happens, with the random numbers for its details.
    fn first(&mut self, machine: u64, lane: Lane, applies: impl Fn(&Fault) -> bool) -> Option<(Failure, Draws)> {
        let Self { seed, faults, numbers, machines } = self;
        let state = machines.entry(machine).or_default();
        let own = state.own.iter().map(|(number, fault)| (*number, fault));
        for (number, fault) in (0..).zip(faults.iter()).chain(own) {
            let is_for = match &fault.machine {
                None => true,
                Some(Target::Number(wanted)) => *wanted == machine,
                Some(Target::Serial(serial)) => numbers.get(serial) == Some(&machine),
            };
            if !is_for || !applies(fault) {
                continue;
            }
            let tally = state.tallies.entry(number).or_default();
            if fault.times.is_some_and(|times| tally.happened >= times) {
                continue;
            }
            let before = tally.matched[lane as usize];
            let matched: u64 = tally.matched.iter().sum();
            tally.matched[lane as usize] += 1;
            if matched < fault.skip {
                continue;
            }
            let mut draws = Draws::new(*seed, &[machine, number, lane as u64, before]);
            if draws.unit() < fault.probability {
                tally.happened += 1;
                return Some((fault.failure.clone(), draws));
            }
        }
        None
    }

    fn delay_and_bandwidth(
        &mut self,
        machine: u64,
        lane: Lane,
        applies: impl Fn(&Fault) -> bool,
    ) -> (Duration, Option<u64>) {
        let delay = match self.first(machine, lane, |f| matches!(f.failure, Failure::Delay(_)) && applies(f)) {
            Some((Failure::Delay(latency), mut draws)) => draws.delay(latency),
            _ => Duration::ZERO,
        };
        let slow = self.first(machine, lane, |f| matches!(f.failure, Failure::Bandwidth { .. }) && applies(f));
        let bytes_per_s = match slow {
            Some((Failure::Bandwidth { bytes_per_s }, _)) => Some(bytes_per_s),
            _ => None,
        };
        (delay, bytes_per_s)
    }

    /// Decides about a request. `has_token`: it has a valid token.
    pub(super) fn request(&mut self, machine: u64, method: &str, path: &str, has_token: bool) -> RequestTreatment {
        let lane = if is_connecting(path) { Lane::Connecting } else { Lane::Requests };
        let matches = |fault: &Fault| fault.matches_request(method, path);
        let failure =
            self.first(machine, lane, |f| f.failure.is_of_request() && matches(f)).map(|(failure, _)| failure);
        let expires_tokens =
            has_token && self.first(machine, lane, |f| f.failure == Failure::ExpireTokens && matches(f)).is_some();
        let (delay, bytes_per_s) = self.delay_and_bandwidth(machine, lane, matches);
        RequestTreatment { failure, expires_tokens, delay, bytes_per_s }
    }

    /// Decides about a frame to a machine. If it `joins` others, no fault of its own can happen to it.
    pub(super) fn frame(&mut self, machine: u64, joins: bool) -> FrameDecision {
        let ends = |fault: &Fault| matches!(&fault.failure, Failure::EndWebSocket { when: Moment::Frame, .. });
        let of_websocket = Fault::matches_websocket;
        let end = self.first(machine, Lane::Frames, |f| ends(f) && of_websocket(f));
        if let Some((Failure::EndWebSocket { how, .. }, _)) = end {
            return FrameDecision::End(how);
        }
        if joins {
            return FrameDecision::Send(FrameTreatment::default());
        }
        let changed = self.first(machine, Lane::Frames, |f| matches!(f.failure, Failure::Frame(_)) && of_websocket(f));
        let fault = match changed {
            Some((Failure::Frame(fault), _)) => Some(fault),
            _ => None,
        };
        let (delay, bytes_per_s) = self.delay_and_bandwidth(machine, Lane::Frames, of_websocket);
        FrameDecision::Send(FrameTreatment { delay, bytes_per_s, fault })
    }

    /// Decides after what time a new connection ends, and how.
    pub(super) fn opened(&mut self, machine: u64) -> Option<(Duration, WsEnd)> {
        let state = self.machines.entry(machine).or_default();
        (state.messages, state.bytes) = (0, 0);
        self.end(machine, Lane::Connecting, |when| matches!(when, Moment::Open(_))).and_then(|(how, when)| match when {
            Moment::Open(time) => Some((time, how)),
            _ => None,
        })
    }

    /// Decides whether the connection ends now that the machine has sent this message on it.
    pub(super) fn message(&mut self, machine: u64, bytes: usize, event: Option<&str>) -> Option<WsEnd> {
        let state = self.machines.entry(machine).or_default();
        let before = state.bytes;
        state.messages += 1;
        state.bytes += bytes as u64;
        let (messages, bytes) = (state.messages, state.bytes);
        let ends = |when: &Moment| match when {
            Moment::Messages(limit) => messages == *limit,
            Moment::Bytes(limit) => before < *limit && bytes >= *limit,
            Moment::Event(wanted) => event == Some(wanted.as_str()),
            Moment::Frame | Moment::Open(_) => false,
        };
        self.end(machine, Lane::Messages, ends).map(|(how, _)| how)
    }

    /// The same for an event that the machine has sent as a request.
    pub(super) fn posted_event(&mut self, machine: u64, event: &str) -> Option<WsEnd> {
        let ends = |when: &Moment| matches!(when, Moment::Event(wanted) if wanted == event);
        self.end(machine, Lane::Messages, ends).map(|(how, _)| how)
    }

    fn end(&mut self, machine: u64, lane: Lane, is_now: impl Fn(&Moment) -> bool) -> Option<(WsEnd, Moment)> {
        let applies = |fault: &Fault| matches!(&fault.failure, Failure::EndWebSocket { when, .. } if is_now(when));
        match self.first(machine, lane, |fault| applies(fault) && fault.matches_websocket())? {
            (Failure::EndWebSocket { how, when }, _) => Some((how, when)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::{FrameFault, Latency};
    use super::super::link::Cut;
    use super::*;

    fn plan(seed: u64, faults: &[&str]) -> FaultPlan {
        let mut plan = FaultPlan::new(seed);
        for text in faults {
            plan.add(text.parse().unwrap_or_else(|e| panic!("{text}: {e}")));
        }
        plan
    }

    fn statuses(plan: &mut FaultPlan, machine: u64, requests: &[(&str, &str)]) -> Vec<u16> {
        let one = |(method, path): &(&str, &str)| match plan.request(machine, method, path, true).failure {
            Some(Failure::Status { status, .. }) => status,
            _ => 200,
        };
        requests.iter().map(one).collect()
    }

    #[test]
    fn requests_fail_by_method_path_machine_and_count() {
        let mut plan = plan(
            0,
            &[
                "status=503 on=PUT:/up/ times=2",
                "status=404 on=/dl/ skip=1 times=1",
                "status=401 on=/api/ machine=2",
                "status=500 on=/x p=0",
                "status=502 on=/y machine=Sb",
            ],
        );
        assert_eq!([plan.number_of("Sa"), plan.number_of("Sb"), plan.number_of("Sa")], [1, 2, 1]);
        let put = ("PUT", "/up/1");
        assert_eq!(statuses(&mut plan, 1, &[put, ("GET", "/up/1"), put, put]), [503, 200, 503, 200]);
        assert_eq!(statuses(&mut plan, 2, &[put, put, put]), [503, 503, 200], "each machine has its own counts");
        assert_eq!(statuses(&mut plan, 1, &[("GET", "/dl/1"); 3]), [200, 404, 200]);
        let others = [("GET", "/api/"), ("GET", "/x"), ("GET", "/y"), ("GET", "/")];
        assert_eq!(statuses(&mut plan, 1, &others), [200; 4]);
        assert_eq!(statuses(&mut plan, 2, &others), [401, 200, 502, 200]);
    }

    #[test]
    fn the_first_of_several_failures_happens_and_others_combine() {
        let faults = ["status=503 times=1", "response=cut times=1", "delay_s=2", "bytes_per_s=7", "tokens=expired"];
        let mut plan = plan(0, &faults);
        let first = plan.request(1, "GET", "/", true);
        assert_eq!(first.failure, Some(Failure::Status { status: 503, headers: Vec::new() }));
        assert_eq!((first.delay, first.bytes_per_s, first.expires_tokens), (Duration::from_secs(2), Some(7), true));
        assert_eq!(plan.request(1, "GET", "/", true).failure, Some(Failure::CutAnswer));
        let third = plan.request(1, "GET", "/", false);
        assert_eq!((third.failure, third.expires_tokens), (None, false), "there is no token that could expire");
    }

    #[test]
    fn a_machine_can_have_faults_of_its_own() {
        let mut plan = plan(0, &[]);
        plan.add_for(2, Fault::status(500));
        plan.add_for(2, Fault::status(501));
        let requests = [("GET", "/"); 3];
        assert_eq!(statuses(&mut plan, 1, &requests), [200; 3]);
        assert_eq!(statuses(&mut plan, 2, &requests), [500, 501, 200]);
    }

    #[test]
    fn frames_are_changed_late_or_the_end() {
        let mut plan = plan(0, &["cut=rst skip=2 times=1", "frame=double times=1", "delay_s=3 on=ws", "status=500"]);
        let late =
            |fault| FrameDecision::Send(FrameTreatment { delay: Duration::from_secs(3), bytes_per_s: None, fault });
        assert_eq!(plan.frame(1, true), FrameDecision::Send(FrameTreatment::default()));
        assert_eq!(plan.frame(1, false), late(Some(FrameFault::Double)));
        assert_eq!(plan.frame(1, false), FrameDecision::End(WsEnd::Cut(Cut::Reset)));
        assert_eq!(plan.frame(1, false), late(None));
        assert_eq!(plan.request(1, "GET", "/", true).delay, Duration::ZERO);
    }

    #[test]
    fn connections_end_after_messages_bytes_or_time_or_at_an_event() {
        let mut plan = plan(
            0,
            &[
                "cut=fin after_messages=3",
                "cut=rst after_bytes=100",
                "cut=close code=1001 event=print:running",
                "cut=fin after_s=60 times=1",
            ],
        );
        let (fin, rst) = (WsEnd::Cut(Cut::Drain), WsEnd::Cut(Cut::Reset));
        assert_eq!(plan.opened(1), Some((Duration::from_secs(60), fin)));
        assert_eq!([1, 1, 1, 1].map(|bytes| plan.message(1, bytes, None)), [None, None, Some(fin), None]);
        assert_eq!(plan.opened(1), None);
        assert_eq!([99, 1].map(|bytes| plan.message(1, bytes, None)), [None, Some(rst)]);
        plan.opened(1);
        assert_eq!(plan.message(1, 1, Some("print:running")), Some(WsEnd::Close(1001)));
        assert_eq!(plan.posted_event(1, "print:running"), Some(WsEnd::Close(1001)));
        assert_eq!(plan.posted_event(1, "print:completed"), None);
        assert_eq!(plan.message(2, 1000, None), Some(rst), "the counts of machines are separate");
    }

    /// What happens to 200 requests, frames and messages of each of two machines, asked in the order of `machines`.
    fn history(seed: u64, machines: &[u64]) -> HashMap<u64, Vec<String>> {
        let faults = [
            "status=503 p=0.3 on=/a",
            "delay_s=lognormal:0.1,1 p=0.5",
            "frame=split p=0.2",
            "cut=fin p=0.1",
            "cut=rst event=x p=0.5",
        ];
        let mut plan = plan(seed, &faults);
        let mut by_machine: HashMap<u64, Vec<String>> = HashMap::new();
        for machine in machines {
            for _ in 0..20 {
                let decisions = format!(
                    "{:?} {:?} {:?}",
                    plan.request(*machine, "GET", "/a", true),
                    plan.frame(*machine, false),
                    plan.message(*machine, 1, Some("x"))
                );
                by_machine.entry(*machine).or_default().push(decisions);
            }
        }
        by_machine
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_in_any_order_of_machines() {
        let one = history(7, &[1, 1, 1, 2, 2, 2]);
        assert_eq!(one, history(7, &[2, 1, 2, 1, 1, 2]));
        assert_ne!(one, history(8, &[1, 1, 1, 2, 2, 2]));
        assert_ne!(one[&1], one[&2], "machines have different faults");
    }

    #[test]
    fn a_probability_is_how_often_it_happens() {
        let mut plan = plan(3, &["status=503 p=0.2"]);
        let failed =
            statuses(&mut plan, 1, &vec![("GET", "/"); 10_000]).iter().filter(|status| **status == 503).count();
        assert!((1900..2100).contains(&failed), "{failed}");
    }

    #[test]
    fn the_number_of_machines_is_bounded() {
        let mut plan = plan(0, &[]);
        let numbers: Vec<_> = (0..2000).map(|n| plan.number_of(&format!("S{n}"))).collect();
        assert_eq!((numbers[998], numbers[999], numbers[1999]), (999, 1000, 1000));
        assert_eq!([0, 1, 999, 1000, 1001].map(|number| plan.has_machine(number)), [false, true, true, true, false]);
        let delay = Latency::Fixed(Duration::ZERO);
        plan.add_for(numbers[1999], Fault::new(Failure::Delay(delay)));
        assert_eq!(plan.machines.len(), 1);
    }
}
