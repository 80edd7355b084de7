//! Sign-ins that are refused.

use super::Serve;
use crate::folder;

#[test]
fn a_refused_sign_in_names_the_reason() {
    let folder = folder();
    let service = Serve::start(folder.path(), &[]);
    let good = r#"{"serial": "S1", "password": "x"}"#;
    let form = "Content-Type: application/x-www-form-urlencoded";
    let json = "Content-Type: application/json";
    for (header, body, status, words) in [
        (json, good, 200, "ws_token"),
        ("X: y", good, 200, "ws_token"),
        (form, "serial=S1&password=x", 200, "ws_token"),
        (json, r#"{"serial": "1", "password": "x"}"#, 400, "S followed by the number"),
        (json, r#"{"serial": 1, "password": "x"}"#, 400, "S followed by the number"),
        (form, "serial=1&password=x", 400, "S followed by the number"),
        (json, r#"{"serial": "S1"}"#, 400, "password"),
        (json, r#"{"password": "x"}"#, 400, "serial"),
        (json, "{", 400, "not JSON"),
        (json, "[]", 400, "object"),
        ("X: y", "serial=S1&password=x", 400, "Content-Type"),
        (form, good, 400, "Content-Type"),
        ("Content-Type: text/plain", "hello", 400, "Content-Type"),
    ] {
        let response = service.ask(&format!("POST /machines/sign_in HTTP/1.1\r\n{header}"), body);
        assert_eq!(response.status, status, "{header}; {body}: {}", response.body);
        assert!(response.body.contains(words), "{header}; {body}: {}", response.body);
    }
}

#[test]
fn a_recording_of_two_connections_has_a_warning() {
    let folder = folder();
    let service = Serve::start(folder.path(), &["--record", "both"]);
    let [_first, _second] = ["S1", "S2"].map(|serial| service.open(serial));
    service.program.wait_line("the recording does not tell them apart");
}
