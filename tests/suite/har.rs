//! Recordings as HAR files, and HAR files as recordings.

use std::fs;
use std::path::{Path, PathBuf};

use crossbeam_channel::unbounded;
use gf_emulator_core::config::Generation;
use gf_emulator_core::record::{
    Bodies, Event, ExportSummary, Recording, SESSION_FILE, export_har, import, import_with_progress,
};
use gf_emulator_core::report::Report;
use gf_emulator_tests::PASSWORD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::replay::{recorded, replayed, unchanged};

/// What must be in no HAR file and no recording: the password, the serial number, tokens, queries and cookies.
const SECRETS: [&str; 9] = [
    PASSWORD,
    "12345678",
    "a-ws-token-0123456789",
    "an-auth-token-0123456789",
    "a-presigned-secret",
    "a-cookie-0123456789",
    "a-password-of-a-person",
    "csrf-0123456789",
    "a%2Dpresigned",
];

/// Exports a recording to a file beside its bodies.
fn exported(recording: &Path, bodies: Bodies) -> (PathBuf, ExportSummary) {
    let path = recording.join("session.har");
    let mut har = Vec::new();
    let summary = export_har(Recording::open(recording).unwrap(), bodies, &mut har).unwrap();
    fs::write(&path, har).unwrap();
    (path, summary)
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The events of a recording, without the first line and without states.
fn events(recording: &Path) -> Vec<Event> {
    let entries = Recording::open(recording).unwrap().map(|entry| entry.unwrap().event);
    entries.filter(|event| !matches!(event, Event::State { .. })).collect()
}

/// All messages of a HAR file.
fn messages(har: &Value) -> Vec<&Value> {
    let entries = har["log"]["entries"].as_array().unwrap();
    entries.iter().filter_map(|entry| entry["_webSocketMessages"].as_array()).flatten().collect()
}

fn check_no_secret(folder: &Path) {
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} is in {}", file.display());
        }
    }
}

#[test]
fn a_har_file_has_every_message_and_request_of_the_recording() {
    for generation in [Generation::V1, Generation::V2] {
        let recording = recorded(generation, unchanged);
        let (path, summary) = exported(recording.path(), Bodies::Embedded);
        let har = read(&path);
        let events = events(recording.path());
        let count = |matches: fn(&Event) -> bool| events.iter().filter(|event| matches(event)).count();
        let [sent, received] =
            [count(|event| matches!(event, Event::Out(_))), count(|event| matches!(event, Event::In(_)))];
        let all = messages(&har);
        let of_type = |kind: &str| all.iter().filter(|message| message["type"] == kind).count();
        assert_eq!((of_type("send"), of_type("receive")), (sent, received));
        assert_eq!(summary.messages, (sent + received) as u64);
        assert_eq!(summary.requests, count(|event| matches!(event, Event::Http(_))) as u64);
        assert_eq!((summary.web_sockets, summary.missing, summary.skipped), (1, vec![], vec![]));
        for message in all {
            assert!(message["time"].as_f64().unwrap() > 1.7e9 && message["opcode"] == 1, "{message}");
            assert!(message["data"].is_string(), "{message}");
        }
        let entries = har["log"]["entries"].as_array().unwrap();
        let uploads = entries.iter().filter(|entry| {
            let headers = entry["request"]["headers"].as_array().unwrap();
            headers.contains(&json!({"name": "content-type", "value": "image/jpeg"}))
        });
        let mut pictures = 0;
        for upload in uploads {
            let text = upload["request"]["postData"]["text"].as_str().unwrap();
            // The pictures of the tests are nothing but 0xff.
            assert!(!text.is_empty() && text.chars().all(|c| c == '\u{ff}'), "a character for each byte");
            assert_eq!(upload["request"]["bodySize"], text.chars().count());
            pictures += 1;
        }
        assert_eq!(pictures, 3, "two of the lid and one of the head");
        assert!(entries.iter().any(|entry| entry["response"]["content"]["encoding"] == "base64"), "the job");
        check_no_secret(recording.path());
    }
}

#[test]
fn an_exported_session_is_imported_and_replayed_without_a_difference() {
    for (generation, bodies) in [(Generation::V1, Bodies::Embedded), (Generation::V2, Bodies::Referenced)] {
        let recording = recorded(generation, unchanged);
        let (path, summary) = exported(recording.path(), bodies);
        let again = tempfile::tempdir().unwrap();
        // Beside the files that it refers to.
        let imported = import(&path, again.path().join("new"), false).unwrap();
        assert_eq!(imported.skipped, []);
        assert_eq!((imported.requests, imported.messages), (summary.requests, summary.messages));
        let again = again.path().join("new");
        let bodies = |folder: &Path| {
            let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
            let files = names.filter(|path| path.extension().is_some_and(|e| e == "bin" || e == "puls"));
            let mut files: Vec<_> = files.map(|path| fs::read(path).unwrap()).collect();
            files.sort();
            files
        };
        assert_eq!(bodies(&again), bodies(recording.path()));
        replayed(&again, generation, unchanged, |_| ()).assert_no_differences();
    }
}

#[test]
fn long_work_tells_how_far_it_is() {
    let recording = recorded(Generation::V2, unchanged);
    let check = |what: &str, work: &mut dyn FnMut(Box<dyn FnMut(f64) + Send + Sync>)| {
        let (seen, parts) = unbounded();
        work(Box::new(move |part| seen.send(part).unwrap()));
        let parts: Vec<f64> = parts.iter().collect();
        assert!(parts.len() > 2 && parts.is_sorted(), "{what}: {parts:?}");
        assert!(
            parts[0] < 0.9 && parts[parts.len() - 1] > 0.9 && parts.iter().all(|part| *part <= 1.0),
            "{what}: {parts:?}"
        );
    };
    let again = tempfile::tempdir().unwrap();
    let har = again.path().join("session.har");
    check("export", &mut |on_progress| {
        let recording = Recording::open(recording.path()).unwrap().on_progress(on_progress);
        export_har(recording, Bodies::Embedded, &mut fs::File::create(&har).unwrap()).unwrap();
    });
    check("import of a HAR file", &mut |on_progress| {
        import_with_progress(&har, again.path().join("har"), false, on_progress).unwrap();
    });
    let log = again.path().join("log");
    fs::write(&log, "{\"t\": 1, \"kind\": \"ws_tx\", \"msg\": {\"id\": 1}}\n".repeat(1000)).unwrap();
    check("import of a log", &mut |on_progress| {
        assert_eq!(import_with_progress(&log, again.path().join("log-of"), false, on_progress).unwrap().lines, 1000);
    });
    check("report", &mut |mut on_progress| {
        let report = Report::read(Recording::open(recording.path()).unwrap()).unwrap();
        report.write_with_progress(&mut Vec::new(), &mut on_progress).unwrap();
    });
}

/// Changes an exported file to what mitmproxy 11 writes of the same session (`addons/savehar.py`), with all secrets.
fn as_mitmproxy(har: &mut Value) {
    har["log"]["creator"] = json!({"name": "mitmproxy", "version": "11.0.2", "comment": ""});
    har["log"]["pages"] = json!([]);
    for entry in har["log"]["entries"].as_array_mut().unwrap() {
        let url = entry["request"]["url"].as_str().unwrap().replace("?***", "?X-Sig=a-presigned-secret");
        entry["request"]["url"] = url.replacen("ws://", "http://", 1).into();
        let time = entry["startedDateTime"].as_str().unwrap().replace('Z', "+00:00");
        entry["startedDateTime"] = time.into();
        entry["timings"] = json!({"connect": -1.0, "ssl": -1.0, "send": 0.1, "receive": 0.2, "wait": null});
        entry["serverIPAddress"] = "127.0.0.1".into();
        let headers = entry["request"]["headers"].as_array_mut().unwrap();
        headers.retain(|header| header["name"] != "authorization");
        headers.push(json!({"name": "Authorization", "value": "Bearer an-auth-token-0123456789"}));
        headers.push(json!({"name": "Cookie", "value": "lang=en; session=a-cookie-0123456789"}));
        let headers = entry["response"]["headers"].as_array_mut().unwrap();
        headers.push(json!({"name": "Set-Cookie", "value": "session=a-cookie-0123456789; Path=/"}));
        if url.ends_with("/machines/sign_in") {
            entry["request"]["postData"] = json!({
                "mimeType": "application/x-www-form-urlencoded", "params": [],
                "text": format!("serial=S12345678&password={PASSWORD}"),
            });
            entry["response"]["content"]["text"] =
                json!({"ws_token": "a-ws-token-0123456789", "auth_token": "an-auth-token-0123456789"})
                    .to_string()
                    .into();
        }
        if entry["_resourceType"] == "websocket" {
            entry["request"]["url"] =
                format!("{}/a-ws-token-0123456789", entry["request"]["url"].as_str().unwrap()).into();
            let sent = entry["_webSocketMessages"].as_array_mut().unwrap();
            let last = sent.last().unwrap()["time"].clone();
            sent.push(json!({"type": "send", "time": last, "opcode": 2, "data": "AAEC"}));
            for message in sent.iter_mut().filter(|message| message["opcode"] == 1) {
                let data = message["data"].as_str().unwrap().replace("?***", "?X-Sig=a-presigned-secret");
                message["data"] = data.replace("\"machine_serial\":\"***\"", "\"machine_serial\":\"S12345678\"").into();
            }
        }
    }
    let entries = har["log"]["entries"].as_array_mut().unwrap();
    let mut failed = entries[0].clone();
    failed["request"]["url"] = "https://www.example.com/machines/sign_in".into();
    failed["request"]["postData"]["text"] =
        "user%5Bpassword%5D=a-password-of-a-person&csrf_token=csrf-0123456789".into();
    failed["response"] = json!({
        "status": 0, "statusText": "", "httpVersion": "", "headers": [], "cookies": [], "content": {}, "redirectURL": "",
        "headersSize": -1, "bodySize": -1, "_transferSize": 0, "_error": null,
    });
    entries.push(failed);
}

#[test]
fn a_har_file_of_mitmproxy_is_imported_without_its_secrets_and_replayed_without_a_difference() {
    for generation in [Generation::V1, Generation::V2] {
        let recording = recorded(generation, unchanged);
        let (path, summary) = exported(recording.path(), Bodies::Embedded);
        let mut har = read(&path);
        as_mitmproxy(&mut har);
        let text = serde_json::to_string_pretty(&har).unwrap();
        for secret in &SECRETS[..8] {
            assert!(text.contains(secret), "{secret} is not in the file: the test tests nothing");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("flows.har"), text).unwrap();
        let again = folder.path().join("again");
        let imported = import(folder.path().join("flows.har"), &again, false).unwrap();
        assert_eq!(imported.skipped, []);
        assert_eq!((imported.requests, imported.messages), (summary.requests + 1, summary.messages + 1));
        check_no_secret(&again);
        let about = Recording::open(&again).unwrap().about().clone();
        assert!(about.firmware.is_some() && about.service.is_some() && about.serial.is_none(), "{about:?}");
        let states: Vec<_> = Recording::open(&again).unwrap().map(|entry| entry.unwrap().event).collect();
        let is_binary = |event: &Event| matches!(event, Event::State { state, .. } if state == "binary");
        assert_eq!(states.iter().filter(|event| is_binary(event)).count(), 1);
        replayed(&again, generation, unchanged, |_| ()).assert_no_differences();

        let with_serial = folder.path().join("with-serial");
        import(folder.path().join("flows.har"), &with_serial, true).unwrap();
        let text = fs::read_to_string(with_serial.join(SESSION_FILE)).unwrap();
        assert!(text.contains("12345678") && !text.contains(PASSWORD), "the serial number was requested");
    }
}

/// Returns a folder with the file `x.har`, whose entries are `entries`.
fn har_of(entries: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("x.har"), format!("\u{feff}{{\"log\":{{\"entries\":[\n{entries}\n]}}}}")).unwrap();
    folder
}

#[test]
fn sorts_by_time_and_skips_what_has_none() {
    let message = |time: &str, data: &str| format!(r#"{{"type":"receive","time":{time},"opcode":1,"data":"{data}"}}"#);
    let socket = format!(
        r#"{{"_webSocketMessages":[{},{},{},{{"type":"error","time":7}}],"startedDateTime":"2026-01-01T01:00:00+01:00","time":1,
        "request":{{"url":"wss://h/x"}}}}"#,
        message("1767225603.5", "second"),
        message("1767225601.5", "first"),
        message("null", "never"),
    );
    let request = |url: &str, started: &str| {
        format!(r#"{{"startedDateTime":"{started}","time":500,"request":{{"method":"GET","url":"{url}"}}}}"#)
    };
    let entries = [
        request("https://h/between", "2026-01-01T00:00:02.000Z"),
        socket,
        request("https://h/no-zone", "2026-01-01T00:00:02.000"),
        request("file:///etc/passwd", "2026-01-01T00:00:02.000Z"),
        "{\"startedDateTime\":\"2026-01-01T00:00:02Z\"}".to_owned(),
    ];
    let folder = har_of(&entries.join(",\n"));
    let imported = import(folder.path().join("x.har"), folder.path().join("r"), false).unwrap();
    let skipped: Vec<_> = imported.skipped.iter().map(|skipped| (skipped.line, skipped.reason.as_str())).collect();
    assert_eq!(
        skipped,
        [
            (3, "a WebSocket message: time is not a number of seconds since 1970"),
            (3, "a WebSocket message: type is neither \"send\" nor \"receive\""),
            (5, "an entry: startedDateTime is not a time with a time zone, such as 2026-01-02T03:04:05.678Z"),
            (6, "an entry: the request's url is not a URL of http, https, ws or wss"),
            (7, "an entry: request is missing"),
        ]
    );
    let names: Vec<String> = events(&folder.path().join("r"))
        .into_iter()
        .map(|event| match event {
            Event::Opened { url } => url,
            Event::In(message) => message.text.unwrap(),
            Event::Http(exchange) => format!("{} {:?}", exchange.url, exchange.error),
            other => format!("{other:?}"),
        })
        .collect();
    let failed = "https://h/between Some(\"no response\")";
    assert_eq!(names, ["wss://h", "first", failed, "second", "Closed { reason: \"closed\" }"]);
}

#[test]
fn a_har_file_with_too_much_is_refused_and_leaves_nothing() {
    let sign_in = |n: usize| {
        format!(
            r#"{{"startedDateTime":"2026-01-01T00:00:00Z","request":{{"method":"POST","url":"https://h/machines/sign_in",
            "postData":{{"text":"{{\"serial\":\"S{n}000000\",\"password\":\"p\"}}"}}}}}}"#
        )
    };
    let many: Vec<_> = (1..30).map(sign_in).collect();
    let far = [sign_in(1), sign_in(1).replace("2026", "1990")];
    for (entries, words) in [
        (many.join(","), "more than 16 serial numbers"),
        (far.join(","), "seconds after the first event"),
        (format!("{{\"a\":{}}}", "[".repeat(5000)), "expected value"),
    ] {
        let folder = har_of(&entries);
        let error = import(folder.path().join("x.har"), folder.path().join("r"), false).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("x.har, line "), "{error}");
        assert!(!folder.path().join("r").exists(), "{words}");
    }
}

/// An entry at a second of a minute: a request with these members, and a response with these.
fn entry(second: u32, request: &Value, response: &Value) -> Value {
    let mut entry = json!({
        "startedDateTime": format!("2026-01-01T00:00:{second:02}Z"), "time": 1,
        "request": {"method": "POST", "url": "https://h.example/x", "headers": [], "bodySize": 1},
        "response": {"status": 200, "headers": [], "content": {}},
    });
    for (part, members) in [("request", request), ("response", response)] {
        entry[part].as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    }
    entry
}

/// What is hidden in HAR files.
const SECRET: &str = "Zq7-hunter2-Xw9";

/// Imports these entries, and returns the text of the recording. Nothing in it has the secret, which is in `place`.
fn imported_without_secret(place: &str, entries: &[&Value]) -> String {
    let text = entries.iter().map(ToString::to_string).collect::<Vec<_>>().join(",\n");
    let folder = har_of(&text);
    let new = folder.path().join("r");
    let imported = import(folder.path().join("x.har"), &new, false).unwrap();
    assert_eq!(imported.skipped, [], "{place}");
    let mut recording = Recording::open(&new).unwrap();
    assert!(recording.by_ref().all(|entry| entry.is_ok()));
    assert_eq!(recording.skipped(), [], "{place}");
    for file in fs::read_dir(&new).unwrap().map(|file| file.unwrap().path()) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains(SECRET), "{place}: the secret is in {}: {text}", file.display());
        assert!(!text.contains("hunter2"), "{place}: a part is in {}: {text}", file.display());
    }
    fs::read_to_string(new.join(SESSION_FILE)).unwrap()
}

#[test]
fn a_secret_is_removed_wherever_it_was_and_wherever_it_is_repeated() {
    let none = json!({});
    let header = |name: &str, value: String| json!({"headers": [{"name": name, "value": value}]});
    let body = |text: String| json!({"postData": {"text": text}});
    let form = |kind: &str, text: String| {
        json!({"headers": [{"name": "Content-Type", "value": kind}], "bodySize": text.chars().count(),
            "postData": {"mimeType": kind, "text": text}})
    };
    let content = |text: String| json!({"content": {"text": text}});
    let request = |request: Value| entry(20, &request, &none);
    let response = |response: Value| entry(20, &none, &response);
    let url = |url: String| request(json!({"url": url}));
    let socket = |url: String, messages: &[String]| {
        let messages =
            messages.iter().map(|data| json!({"type": "send", "time": 1_767_225_621, "opcode": 1, "data": data}));
        let mut socket = entry(20, &json!({"url": url}), &json!({"status": 101}));
        socket["_webSocketMessages"] = messages.collect();
        socket
    };
    let places = [
        ("an authorization header", request(header("Authorization", format!("Bearer {SECRET}")))),
        ("a cookie", request(header("cookie", format!("lang=en; id={SECRET}")))),
        ("a new cookie", response(header("Set-Cookie", format!("id={SECRET}; Path=/; HttpOnly")))),
        ("a header named key", request(header("X-Api-Key", SECRET.to_owned()))),
        ("a header named token", response(header("X-CSRF-Token", SECRET.to_owned()))),
        ("a redirection", response(header("Location", format!("https://h.example/y?code={SECRET}")))),
        ("a query", url(format!("https://h.example/x?X-Amz-Signature={SECRET}"))),
        ("a fragment", url(format!("https://h.example/x#access_token={SECRET}"))),
        ("a URL's password", url(format!("https://me:{SECRET}@h.example/x"))),
        (
            "a sign-in as a form",
            request(json!({"url": "https://h.example/users/sign_in",
            "postData": {"text": format!("user%5Bpassword%5D={SECRET}")}})),
        ),
        (
            "a sign-in as JSON",
            request(json!({"url": "https://h.example/machines/sign_in",
            "postData": {"text": json!({"serial": "S1234", "password": SECRET}).to_string()}})),
        ),
        (
            "the answer to a sign-in",
            entry(
                20,
                &json!({"url": "https://h.example/machines/sign_in"}),
                &content(json!({"auth_token": SECRET}).to_string()),
            ),
        ),
        ("a field of JSON", request(body(json!({"user": [{"newPassword": SECRET}]}).to_string()))),
        ("a field of a response", response(content(json!({"access_token": SECRET}).to_string()))),
        (
            "base64",
            response(json!({"content": {"encoding": "base64", "text": "eyJhcGlfa2V5IjoiWnE3LWh1bnRlcjItWHc5In0="}})),
        ),
        ("a WebSocket's path", socket(format!("wss://h.example/{SECRET}"), &[])),
        ("a WebSocket's query", socket(format!("wss://h.example/x?a=1&sig={SECRET}"), &[])),
        ("a WebSocket's password", socket(format!("wss://me:{SECRET}@h.example/x"), &[])),
        ("a message", socket("wss://h.example/x".to_owned(), &[json!({"a": {"refresh_token": SECRET}}).to_string()])),
        (
            "a second line",
            socket("wss://h.example/x".to_owned(), &[format!("{{\"a\":1}}\n{{\"secret\":\"{SECRET}\"}}\n")]),
        ),
    ];
    // Text in the body of a request is left out, so that what it repeats is not known.
    let unrepeated = [
        ("a form", request(form("application/x-www-form-urlencoded; charset=utf-8", format!("pin={SECRET}")))),
        (
            "a form with a picture",
            request(form("multipart/form-data; boundary=x", format!("--x\r\n\r\n{SECRET}\r\n--x\r\n\r\n\u{ff}\u{0}"))),
        ),
        ("text", request(body(format!("my password is {SECRET}")))),
        ("a message that is not JSON", socket("wss://h.example/x".to_owned(), &[format!("password={SECRET}")])),
        (
            "a URL in a message",
            socket(
                "wss://h.example/x".to_owned(),
                &[json!({"u": format!("https://h.example/up?s={SECRET}")}).to_string()],
            ),
        ),
        ("an error", response(json!({"status": 0, "_error": format!("cannot open https://h.example/x?s={SECRET}")}))),
    ];
    // It comes before the place that tells that it is a secret.
    let repeated = entry(10, &none, &content(format!("you are {SECRET}.")));
    for (place, entry) in &places {
        imported_without_secret(place, &[&repeated, entry]);
        imported_without_secret(place, &[entry, &repeated]);
    }
    for (place, entry) in &unrepeated {
        imported_without_secret(place, &[entry]);
    }
    // Nothing else is taken for a secret.
    let cookie = "id=1; Domain=.h.example; Expires=Thu, 01 Jan 2027 00:00:00 GMT";
    let text = imported_without_secret("a cookie for a domain", &[&response(header("Set-Cookie", cookie.to_owned()))]);
    assert!(text.contains("https://h.example/x"), "{text}");
}

#[test]
fn a_serial_number_of_0_hides_no_other() {
    let sent = |data: &Value| json!({"type": "send", "time": 1_767_225_621, "opcode": 1, "data": data.to_string()});
    let mut socket = entry(20, &json!({"url": "wss://h.example/x"}), &json!({"status": 101}));
    socket["_webSocketMessages"] =
        json!([sent(&json!({"settings": {"values": {"MCsn": 0}}})), sent(&json!({"machine_serial": "S12345678"}))]);
    let folder = har_of(&socket.to_string());
    import(folder.path().join("x.har"), folder.path().join("r"), false).unwrap();
    let text = fs::read_to_string(folder.path().join("r").join(SESSION_FILE)).unwrap();
    assert!(!text.contains("12345678"), "{text}");
}

#[test]
fn a_value_of_the_wrong_type_is_an_error_that_does_not_repeat_it() {
    let secret = "x".repeat(100_000) + "\", expected y";
    let members = ["time", "startedDateTime", "request", "response", "_resourceType", "_webSocketMessages"];
    let of_request = ["method", "url", "headers", "postData", "bodySize"];
    let of_response = ["status", "headers", "content", "bodySize", "_error"];
    let mut refused = 0;
    for wrong in [
        json!(secret),
        json!(7),
        json!(-1e300),
        json!(true),
        json!([[[]]]),
        json!({"a": {}}),
        json!({"name": [secret]}),
    ] {
        let places = members.map(|name| (None, name)).into_iter();
        let places = places.chain(of_request.map(|name| (Some("request"), name)));
        for (part, name) in places.chain(of_response.map(|name| (Some("response"), name))) {
            let mut entry = entry(20, &json!({}), &json!({}));
            match part {
                Some(part) => entry[part][name] = wrong.clone(),
                None => entry[name] = wrong.clone(),
            }
            let folder = har_of(&entry.to_string());
            let new = folder.path().join("r");
            match import(folder.path().join("x.har"), &new, false) {
                Ok(_) => {
                    let mut recording = Recording::open(&new).unwrap();
                    assert!(recording.by_ref().all(|entry| entry.is_ok()), "{name}: {wrong:.99}");
                    assert_eq!(recording.skipped(), [], "{name}: {wrong:.99}");
                }
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains("x.har, line ") && error.len() < 400, "{name}: {error:.500}");
                    assert!(!new.exists(), "{name}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn each_websocket_of_a_recording_is_an_entry() {
    let recording = tempfile::tempdir().unwrap();
    let line = |n: usize, rest: &str| format!("{{\"n\":{n},\"t\":{n},\"at\":\"2026-01-01T00:00:0{n}.000Z\",{rest}}}\n");
    let lines = [
        r#""kind":"session","format":1,"recorder":"r","side":"machine""#,
        r#""kind":"in","bytes":2,"json":{}"#,
        r#""kind":"opened","url":"wss://first""#,
        r#""kind":"out","bytes":1,"text":"a""#,
        r#""kind":"opened","url":"wss://second""#,
        r#""kind":"closed","reason":"the first""#,
        r#""kind":"out","bytes":1,"text":"b""#,
        r#""kind":"http","method":"GET","url":"https://h/x","request":{"bytes":0},"response":{"bytes":9,"file":"../../x"}"#,
    ];
    let text: String = lines.iter().enumerate().map(|(n, rest)| line(n, rest)).collect();
    fs::write(recording.path().join(SESSION_FILE), text + "oops\n").unwrap();
    let (path, summary) = exported(recording.path(), Bodies::Embedded);
    assert_eq!((summary.web_sockets, summary.messages, summary.requests), (3, 3, 1));
    assert_eq!((summary.missing.len(), summary.skipped.len()), (1, 1), "{summary:?}");
    let har = read(&path);
    let entries = har["log"]["entries"].as_array().unwrap();
    let urls: Vec<_> = entries.iter().map(|entry| entry["request"]["url"].as_str().unwrap()).collect();
    assert_eq!(urls, ["ws://recorded.invalid", "wss://first", "https://h/x", "wss://second"]);
    let times: Vec<_> = entries.iter().map(|entry| entry["startedDateTime"].as_str().unwrap()).collect();
    assert_eq!(times[1], "2026-01-01T00:00:02.000000Z");
    assert_eq!(messages(&har)[2]["time"], 1_767_225_606.0);
    assert_eq!(entries[2]["response"]["status"], 0);
}
