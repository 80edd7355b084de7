//! The rules of [`ClientState`]: in random schedules, and a few spelled out.

use proptest::prelude::*;

use self::simulation::{LIMITS, Simulation};
use super::super::outbox::Outcome;
use super::*;

mod simulation;

/// What happens at one step of a schedule.
#[derive(Debug, Clone)]
enum Step {
    /// The machine queues an event with a text of this length.
    Event(usize),
    Progress(usize),
    /// The operating system takes this many more bytes.
    Room(u64),
    /// The service sends a ping, a text or a Close.
    Ping,
    Text,
    Close,
    /// The service answers pings and Closes, or it does not.
    Answers(bool),
    /// So many reads end at their limit.
    Flood(u32),
    /// The connection ends: after what has arrived, reads fail.
    Cut,
    /// From now on, writes fail.
    BreakWrites,
    /// The next attempt to connect fails like this.
    Refuse(RetryReason, Option<u64>),
    /// The next attempts to connect take so long.
    ConnectDelay(u64),
    Advance(u64),
    Stop,
}

fn schedules() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![8 => 1..200usize, 1 => 1000..6000usize];
    let room = prop_oneof![3 => 0..40u64, 2 => 0..9000u64, 1 => Just(u64::MAX)];
    let reason = prop_oneof![Just(RetryReason::Failed), Just(RetryReason::Refused)];
    let milliseconds = prop_oneof![2 => 0..600u64, 2 => 0..12_000u64, 1 => 0..100_000u64];
    let step = prop_oneof![
        12 => length.clone().prop_map(Step::Event),
        5 => length.prop_map(Step::Progress),
        10 => room.prop_map(Step::Room),
        3 => Just(Step::Ping),
        1 => Just(Step::Text),
        1 => Just(Step::Close),
        3 => any::<bool>().prop_map(Step::Answers),
        1 => (1..60u32).prop_map(Step::Flood),
        3 => Just(Step::Cut),
        2 => Just(Step::BreakWrites),
        3 => (reason, proptest::option::of(0..700u64)).prop_map(|(reason, asked)| Step::Refuse(reason, asked)),
        1 => (0..3000u64).prop_map(Step::ConnectDelay),
        10 => milliseconds.prop_map(Step::Advance),
        1 => Just(Step::Stop),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn keeps_its_rules_in_every_schedule(steps in schedules(), seed in any::<u64>()) {
        let mut simulation = Simulation::new(seed);
        for step in &steps {
            if !simulation.exited {
                simulation.step(step);
            }
        }
        simulation.recover_and_stop();
    }
}

/// A connected client whose socket takes everything, and the time.
fn connected() -> (ClientState, Instant) {
    let mut state = ClientState::new(LIMITS, Backoff::seeded(0));
    let now = Instant::now();
    state.connected(now);
    (state, now)
}

/// Carries out commands, with an empty inbox and a socket that takes everything, up to one that is not a read or a flush.
fn next(state: &mut ClientState, now: Instant) -> Command {
    loop {
        match state.next(now) {
            Command::Read => state.read_done(true),
            Command::Flush => state.flushed(true),
            command => return command,
        }
    }
}

#[test]
fn pings_every_30_s_for_as_long_as_it_is_answered() {
    let (mut state, mut now) = connected();
    for _ in 0..5 {
        let Command::Wait { interest: Interest::Readable, until } = next(&mut state, now) else { panic!() };
        assert_eq!(until, Some(now + PING_EVERY));
        now += PING_EVERY;
        assert!(matches!(next(&mut state, now), Command::Write(messages) if messages == [Message::Ping(Bytes::new())]));
        let Command::Wait { until, .. } = next(&mut state, now) else { panic!() };
        assert_eq!(until, Some(now + PONG_TIMEOUT));
        state.pong_received();
    }
    now += PING_EVERY;
    assert!(matches!(next(&mut state, now), Command::Write(_)));
    now += PONG_TIMEOUT;
    assert!(matches!(next(&mut state, now), Command::Disconnect { reason, .. } if reason.contains("no pong")));
}

#[test]
fn a_short_connection_keeps_the_backoff_and_one_of_10_s_resets_it() {
    let (mut state, mut now) = connected();
    let mut lose_after = |connected: Duration| {
        now += connected;
        state.connection_lost("cut".into());
        let Command::Disconnect { retry_in, .. } = next(&mut state, now) else { panic!() };
        now += retry_in;
        assert!(matches!(next(&mut state, now), Command::Connect));
        state.connected(now);
        retry_in
    };
    for full in [500, 1000, 2000, 4000, 8000, 15_000, 15_000].map(Duration::from_millis) {
        let pause = lose_after(Duration::from_millis(9999));
        assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
    }
    assert!(lose_after(Duration::from_secs(10)) <= Duration::from_millis(500));
}

#[test]
fn a_stop_gives_up_after_a_second_if_the_service_does_not_read() {
    let (mut state, now) = connected();
    state.push(Outgoing::event("never read"));
    assert!(matches!(next(&mut state, now), Command::Write(_)));
    state.stop(now);
    assert!(matches!(state.next(now), Command::Flush));
    state.flushed(false);
    let Command::Wait { interest: Interest::Both, until } = state.next(now) else { panic!() };
    assert_eq!(until, Some(now + FLUSH_TIMEOUT));
    assert!(matches!(next(&mut state, now + FLUSH_TIMEOUT), Command::Exit));
    assert_eq!(state.reports().pop().map(|report| report.outcome), Some(Outcome::Dropped(DropReason::NotRead)));
}
