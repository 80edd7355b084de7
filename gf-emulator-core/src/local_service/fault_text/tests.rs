//! Faults as text and as JSON: every field, and every mistake.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn end(how: WsEnd, when: Moment) -> Fault {
    Fault::new(Failure::EndWebSocket { how, when }).always()
}

#[test]
fn text_and_json_have_the_same_fields() {
    let frame = |frame| Fault::new(Failure::Frame(frame)).always();
    let delay = |latency| Fault::new(Failure::Delay(latency)).always();
    let (rst, fin) = (WsEnd::Cut(Cut::Reset), WsEnd::Cut(Cut::Drain));
    for (text, json, expected) in [
        ("status=401", json!({"status": 401}), Fault::status(401).always()),
        (
            " status=429  retry_after_s=2 on=PUT:/up/ p=0.5 skip=1 times=3 machine=2",
            json!({"status": 429, "retry_after_s": 2, "on": "PUT:/up/", "p": 0.5, "skip": 1, "times": 3, "machine": 2}),
            Fault::status(429)
                .header("Retry-After", "2")
                .on("PUT", "/up/")
                .probability(0.5)
                .skip(1)
                .times(3)
                .machine(2),
        ),
        ("request=cut", json!({"request": "cut"}), Fault::new(Failure::CutRequest).always()),
        ("response=cut", json!({"response": "cut"}), Fault::new(Failure::CutAnswer).always()),
        ("response=short", json!({"response": "short"}), Fault::new(Failure::ShortBody).always()),
        ("response=stall", json!({"response": "stall"}), Fault::new(Failure::Stall).always()),
        ("response=endless", json!({"response": "endless"}), Fault::new(Failure::EndlessBody).always()),
        ("tokens=expired", json!({"tokens": "expired"}), Fault::new(Failure::ExpireTokens).always()),
        ("delay_s=0.5", json!({"delay_s": 0.5}), delay(Latency::Fixed(seconds(0.5)))),
        ("delay_s=2 on=ws", json!({"delay_s": 2, "on": "ws"}), delay(Latency::Fixed(seconds(2.0))).on_frames()),
        (
            "delay_s=0.1..3",
            json!({"delay_s": "0.1..3"}),
            delay(Latency::Uniform { min: seconds(0.1), max: seconds(3.0) }),
        ),
        (
            "delay_s=lognormal:0.1,0.5",
            json!({"delay_s": "lognormal:0.1,0.5"}),
            delay(Latency::LogNormal { median: seconds(0.1), sigma: 0.5 }),
        ),
        ("bytes_per_s=10", json!({"bytes_per_s": 10}), Fault::new(Failure::Bandwidth { bytes_per_s: 10 }).always()),
        ("frame=double", json!({"frame": "double"}), frame(FrameFault::Double)),
        ("frame=reorder", json!({"frame": "reorder"}), frame(FrameFault::Reorder { wait: WAIT })),
        ("frame=split parts=3", json!({"frame": "split", "parts": 3}), frame(FrameFault::Split { parts: 3 })),
        (
            "frame=pack wait_s=3",
            json!({"frame": "pack", "wait_s": 3}),
            frame(FrameFault::Pack { parts: 2, wait: seconds(3.0) }),
        ),
        ("cut=rst", json!({"cut": "rst"}), end(rst, Moment::Frame)),
        ("cut=fin after_messages=5", json!({"cut": "fin", "after_messages": 5}), end(fin, Moment::Messages(5))),
        ("cut=rst after_bytes=9", json!({"cut": "rst", "after_bytes": 9}), end(rst, Moment::Bytes(9))),
        ("cut=fin after_s=0.5", json!({"cut": "fin", "after_s": 0.5}), end(fin, Moment::Open(seconds(0.5)))),
        (
            "cut=close code=1012 event=print:running",
            json!({"cut": "close", "code": 1012, "event": "print:running"}),
            end(WsEnd::Close(1012), Moment::Event("print:running".into())),
        ),
    ] {
        assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
        assert_eq!(serde_json::from_value::<Fault>(json).unwrap(), expected, "{text}");
    }
    let path = "status=500 on=/a:b".parse::<Fault>().unwrap();
    assert!(path.matches_request("GET", "/a:b/c") && !path.matches_request("GET", "/a"));
    let one = "status=500 machine=S12".parse::<Fault>().unwrap();
    assert_eq!(one.machine, Some(Target::Serial("S12".into())));
}

#[test]
fn errors_name_the_column_and_the_field() {
    for (text, column, part) in [
        ("", 1, "needs one of status, request"),
        ("p=0.5", 1, "needs one of"),
        ("status", 1, "\"status\" is not field=value"),
        ("\u{e9}\u{e9} status=1", 1, "is not field=value"),
        ("status=503 =1", 12, "is not field=value"),
        ("status=503 status=503", 12, "given twice"),
        ("status=503 oops=1", 12, "unknown field `oops`"),
        ("status=ok", 1, "status: \"ok\" is not a whole number"),
        ("p=1 status=199", 5, "status: 199"),
        ("status=503 p=often", 12, "p: \"often\" is not a number"),
        ("on=/\u{e9} status=99999", 7, "status: 99999 is too large"),
        ("status=503 p=1.5", 12, "p: 1.5 is not a probability"),
        ("status=503 times=0", 12, "times: must be at least 1"),
        ("status=503 machine=0", 12, "machine: machines are counted from 1"),
        ("status=503 machine=x", 12, "machine: \"x\" is neither"),
        ("status=503 on=up", 12, "on: \"up\" is none of"),
        ("status=503 on=put:/up", 12, "on: \"put:/up\""),
        ("status=503 on=ws", 12, "on: this happens to requests only"),
        ("frame=double on=/up", 14, "on: frame and cut"),
        ("status=503 cut=rst", 12, "cut: a fault has one failure, and status is one already"),
        ("frame=swap", 1, "frame: unknown variant `swap`"),
        ("frame=split parts=1", 13, "parts: 1 is not"),
        ("frame=double parts=2", 14, "parts: belongs to frame=split and frame=pack only"),
        ("cut=rst code=1000", 9, "code: belongs to cut=close only"),
        ("cut=close code=1005", 11, "code: 1005"),
        ("cut=rst after_s=1 event=x", 19, "event: a cut has one moment, and after_s is one already"),
        ("cut=rst after_bytes=0", 9, "after_bytes: must be at least 1"),
        ("delay_s=-1", 1, "delay_s: -1 is not a number of seconds"),
        ("delay_s=soon", 1, "delay_s: \"soon\" is none of"),
        ("delay_s=2..1", 1, "delay_s: the first number"),
        ("delay_s=lognormal:1,99", 1, "delay_s: 99 is not a standard deviation"),
        ("bytes_per_s=0", 1, "bytes_per_s: must be at least 1"),
        ("retry_after_s=1 delay_s=1", 1, "retry_after_s: belongs to status only"),
    ] {
        let error = text.parse::<Fault>().unwrap_err();
        assert_eq!(error.column, column, "{text}: {error}");
        assert!(error.reason.contains(part), "{text}: {error}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_fault_or_an_error_within_it(text in "\\PC{0,60}") {
        if let Err(error) = text.parse::<Fault>() {
            prop_assert!((1..=text.chars().count().max(1)).contains(&error.column), "{error}");
        }
    }

    #[test]
    fn reads_any_combination_of_valid_fields(
        failure in prop::sample::select(vec![
            "status=503", "request=cut", "response=stall", "tokens=expired", "delay_s=0.1..2", "bytes_per_s=7",
            "frame=pack", "cut=close",
        ]),
        p in 0.0..=1.0_f64,
        [skip, times, machine] in [0..9_u64, 1..9, 1..9],
        order in any::<bool>(),
    ) {
        let limits = format!("p={p} skip={skip} times={times} machine={machine}");
        let text = if order { format!("{failure} {limits}") } else { format!("{limits} {failure}") };
        let plain = failure.parse::<Fault>().unwrap();
        let expected = plain.probability(p).skip(skip).times(times).machine(machine);
        prop_assert_eq!(text.parse(), Ok(expected));
    }
}
