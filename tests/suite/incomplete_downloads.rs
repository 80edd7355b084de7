//! Downloads that are incomplete, or not known to be complete: none of them is kept.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use gf_emulator_core::config::Generation;
use gf_emulator_tests::{Setup, folder, square};
use serde_json::json;

use crate::raw_service::{RawService, Response, http, normal_responses};
use crate::tls_server::Acceptor;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns a response; `head` has its status and headers.
fn response(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {head}\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn with_length(status: &str, length: usize, body: &[u8]) -> Vec<u8> {
    response(&format!("{status}\r\nContent-Length: {length}"), body)
}

/// Returns a response with the body in two chunks, followed by `end`.
fn chunked(body: &[u8], end: &str) -> Vec<u8> {
    let (first, second) = body.split_at(body.len() / 2);
    let mut bytes = Vec::new();
    for chunk in [first, second] {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(end.as_bytes());
    response("200 OK\r\nTransfer-Encoding: chunked", &bytes)
}

const NO_LENGTH: &str = "200 OK\r\nConnection: close";

/// Returns responses whose body is incomplete or not known to be complete, by name.
fn incomplete_responses(file: &[u8]) -> Vec<(&'static str, Response)> {
    let (length, half) = (file.len(), &file[..file.len() / 2]);
    let range = format!("206 Partial Content\r\nContent-Range: bytes 0-{}/{length}", half.len() - 1);
    let all = format!("206 Partial Content\r\nContent-Range: bytes 0-{}/{length}", length - 1);
    let in_1_0 = |mut bytes: Vec<u8>| {
        bytes[b"HTTP/1.".len()] = b'0';
        bytes
    };
    vec![
        ("206 with half of the file", Response::Bytes(with_length(&range, half.len(), half))),
        ("206 with the whole file", Response::Bytes(with_length(&all, length, file))),
        ("206 without Content-Range", Response::Bytes(with_length("206 Partial Content", half.len(), half))),
        ("201", Response::Bytes(with_length("201 Created", length, file))),
        ("202", Response::Bytes(with_length("202 Accepted", length, file))),
        ("204", Response::Bytes(response("204 No Content", b""))),
        ("205", Response::Bytes(with_length("205 Reset Content", 0, b""))),
        ("304", Response::Bytes(response("304 Not Modified", b""))),
        ("101", Response::Bytes(response("101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade", file))),
        ("103 only", Response::Bytes(response("103 Early Hints", b""))),
        ("300", Response::Bytes(with_length("300 Multiple Choices", length, file))),
        ("no length, whole file, closed", Response::Bytes(response(NO_LENGTH, file))),
        ("no length, half, closed", Response::Bytes(response(NO_LENGTH, half))),
        ("no length, half, reset", Response::Reset(response(NO_LENGTH, half))),
        ("HTTP/1.0 without a length", Response::Bytes(in_1_0(response("200 OK", file)))),
        ("chunked in HTTP/1.0", Response::Bytes(in_1_0(chunked(file, "0\r\n\r\n")))),
        ("shorter than its length, closed", Response::Bytes(with_length("200 OK", length, half))),
        ("shorter than its length, reset", Response::Reset(with_length("200 OK", length, half))),
        (
            "a length and an unknown transfer coding",
            Response::Bytes(response(&format!("200 OK\r\nTransfer-Encoding: x\r\nContent-Length: {length}"), file)),
        ),
        (
            "two lengths",
            Response::Bytes(response(&format!("200 OK\r\nContent-Length: {length}\r\nContent-Length: 9"), file)),
        ),
        ("no last chunk, closed", Response::Bytes(chunked(file, ""))),
        ("no last chunk, reset", Response::Reset(chunked(file, ""))),
        ("an incomplete chunk", Response::Bytes(chunked(file, "ff\r\nxyz"))),
    ]
}

/// Runs a motion whose download gets this response. Returns its terminal event and the extensions of the stored files.
fn run_motion(response: impl Fn() -> Response + Send + Sync + 'static) -> (String, Vec<String>) {
    let raw = RawService::start(move |_| response());
    run_motion_from(&format!("http://{}/job.puls", raw.addr), Setup::new(Generation::V2))
}

fn run_motion_from(url: &str, setup: Setup) -> (String, Vec<String>) {
    let harness = setup.start();
    harness.send(1, "motion", "ready", &json!({"motion_url": url}));
    // Actions that need the machine run one at a time: the motion ends before the next one.
    harness.expect(2, "lid_image", "completed");
    let endings = harness.endings(1, "motion");
    assert_eq!(endings.len(), 1, "{endings:?}");
    let mut names: Vec<_> =
        harness.jobs().iter().map(|path| path.extension().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    harness.stop().2.unwrap();
    (endings[0].clone(), names)
}

/// Clones a response.
fn copy(response: &Response) -> Response {
    match response {
        Response::Bytes(bytes) => Response::Bytes(bytes.clone()),
        Response::Reset(bytes) => Response::Reset(bytes.clone()),
        _ => unreachable!("not used here"),
    }
}

#[test]
fn a_job_not_known_to_be_complete_fails_and_is_not_kept() {
    for (what, response) in incomplete_responses(&square()) {
        assert_eq!(run_motion(move || copy(&response)), ("motion:failed (1)".into(), Vec::new()), "{what}");
    }
    let compressed = gzip(&square());
    for (what, bytes) in [
        ("gzip, half", &compressed[..compressed.len() / 2]),
        ("gzip without its last byte", &compressed[..compressed.len() - 1]),
        ("gzip without its trailer", &compressed[..compressed.len() - 8]),
    ] {
        let bytes = response(NO_LENGTH, bytes);
        let ended = run_motion(move || Response::Bytes(bytes.clone()));
        assert_eq!(ended, ("motion:failed (1)".into(), Vec::new()), "{what}");
    }
}

#[test]
fn a_redirected_job_is_complete_or_fails() {
    let file = square();
    for (redirected, ending) in [
        (with_length("200 OK", file.len(), &file), "motion:completed (1)"),
        (with_length("206 Partial Content", file.len(), &file), "motion:failed (1)"),
        (response(NO_LENGTH, &file), "motion:failed (1)"),
    ] {
        let raw = RawService::start(move |request| match request.method_and_path.as_str() {
            "GET /redirected.puls" => Response::Bytes(response(
                "302 Found\r\nLocation: /job.puls\r\nContent-Length: 0\r\nConnection: close",
                b"",
            )),
            _ => Response::Bytes(redirected.clone()),
        });
        let ended = run_motion_from(&format!("http://{}/redirected.puls", raw.addr), Setup::new(Generation::V2));
        assert_eq!(ended.0, ending);
    }
}

#[test]
fn a_complete_job_is_kept() {
    let (file, compressed) = (square(), gzip(&square()));
    for (what, bytes) in [
        ("a Content-Length", with_length("200 OK", file.len(), &file)),
        ("more bytes than its Content-Length", with_length("200 OK", file.len(), &[&file[..], &file[..]].concat())),
        ("chunks with a last chunk", chunked(&file, "0\r\n\r\n")),
        ("chunks with a last chunk and trailers", chunked(&file, "0\r\nX-Checksum: 1\r\n\r\n")),
        ("after early hints", [response("103 Early Hints", b""), with_length("200 OK", file.len(), &file)].concat()),
        ("gzip with its trailer, closed", response(NO_LENGTH, &compressed)),
        ("gzip in chunks", chunked(&compressed, "0\r\n\r\n")),
    ] {
        let ended = run_motion(move || Response::Bytes(bytes.clone()));
        assert_eq!(ended, ("motion:completed (1)".into(), vec!["info".into(), "puls".into()]), "{what}");
    }
}

/// Starts a TLS server that sends these bytes and closes the TCP connection without a `close_notify`. Returns the job's
/// URL and the certificate.
fn serve_without_close_notify(bytes: Vec<u8>) -> (String, String) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (pem, acceptor) = (own.cert.pem(), Acceptor::new(own.cert.der(), &own.signing_key));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/job.puls", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let mut stream = acceptor.accept(tcp.try_clone().unwrap());
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(&bytes).unwrap();
        tcp.shutdown(std::net::Shutdown::Both).unwrap();
    });
    (url, pem)
}

#[test]
fn a_complete_job_is_kept_if_tls_ends_without_close_notify() {
    let (file, compressed) = (square(), gzip(&square()));
    let kept: &[&str] = &["info", "puls"];
    for (what, bytes, ending, names) in [
        ("no length", response(NO_LENGTH, &file), "failed", &[] as &[&str]),
        ("no length, half", response(NO_LENGTH, &file[..file.len() / 2]), "failed", &[]),
        ("gzip, half", response(NO_LENGTH, &compressed[..compressed.len() / 2]), "failed", &[]),
        ("shorter than its length", with_length("200 OK", file.len() + 1, &file), "failed", &[]),
        ("no last chunk", chunked(&file, ""), "failed", &[]),
        ("gzip with its trailer", response(NO_LENGTH, &compressed), "completed", kept),
        ("a Content-Length", with_length("200 OK", file.len(), &file), "completed", kept),
        ("a last chunk", chunked(&file, "0\r\n\r\n"), "completed", kept),
    ] {
        let (url, pem) = serve_without_close_notify(bytes);
        let certificates = folder();
        let ca_file = certificates.path().join("own.pem");
        fs::write(&ca_file, pem).unwrap();
        let setup = Setup::new(Generation::V2).config(move |config| config.service.ca_file = Some(ca_file));
        let ended = run_motion_from(&url, setup);
        assert_eq!(ended, (format!("motion:{ending} (1)"), names.iter().map(ToString::to_string).collect()), "{what}");
    }
}

#[test]
fn firmware_not_known_to_be_complete_is_not_kept() {
    let firmware = b"firmware 9.9.9, all of it\n";
    let download_firmware = |file: Response| {
        let raw = RawService::start({
            let normal = normal_responses();
            move |request| match request.method_and_path.as_str() {
                "GET /update/current" => {
                    let host = request.head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
                    http(200, &format!(r#"{{"version":"9.9.9","download_url":"http://{host}/firmware"}}"#))
                }
                "GET /firmware" => copy(&file),
                _ => normal(request),
            }
        });
        let (mut emulator, folder) = raw.machine(|config| config.service.protocol = Some(Generation::V1));
        emulator.connect().unwrap();
        // So that dropping the emulator does not wait for the answer to its Close.
        drop(raw.socket());
        assert!(raw.requests().contains(&"GET /firmware".to_owned()));
        let kept: Vec<_> = fs::read_dir(folder.path().join("firmware"))
            .map(|entries| entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect())
            .unwrap_or_default();
        kept
    };
    for (what, response) in incomplete_responses(firmware) {
        assert_eq!(download_firmware(response), Vec::<Vec<u8>>::new(), "{what}");
    }
    let compressed = gzip(firmware);
    assert_eq!(
        download_firmware(Response::Bytes(response(NO_LENGTH, &compressed))),
        Vec::<Vec<u8>>::new(),
        "only a job is complete at the end of gzip"
    );
    assert_eq!(download_firmware(Response::Bytes(chunked(firmware, "0\r\n\r\n"))), [firmware]);
    assert_eq!(download_firmware(Response::Bytes(with_length("200 OK", firmware.len(), firmware))), [firmware]);
}
