//! Downloads that end before their end, or that nothing says are whole: none of them is taken for a file.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use gf_emulator_core::config::Generation;
use gf_emulator_tests::{Setup, folder, square};
use serde_json::json;

use crate::raw::{Answer, Raw, good, http};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An answer with these headers (the status line included) and this body.
fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {head}\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn with_length(status: &str, length: usize, body: &[u8]) -> Vec<u8> {
    answer(&format!("{status}\r\nContent-Length: {length}"), body)
}

/// The body in two chunks, and what comes after them.
fn chunked(body: &[u8], end: &str) -> Vec<u8> {
    let (first, second) = body.split_at(body.len() / 2);
    let mut bytes = Vec::new();
    for chunk in [first, second] {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(end.as_bytes());
    answer("200 OK\r\nTransfer-Encoding: chunked", &bytes)
}

const NO_LENGTH: &str = "200 OK\r\nConnection: close";

/// Answers with what a file's server may do wrong, by name.
fn not_whole(file: &[u8]) -> Vec<(&'static str, Answer)> {
    let (length, half) = (file.len(), &file[..file.len() / 2]);
    let range = format!("206 Partial Content\r\nContent-Range: bytes 0-{}/{length}", half.len() - 1);
    let all = format!("206 Partial Content\r\nContent-Range: bytes 0-{}/{length}", length - 1);
    let in_1_0 = |mut bytes: Vec<u8>| {
        bytes[b"HTTP/1.".len()] = b'0';
        bytes
    };
    vec![
        ("206 with half", Answer::Bytes(with_length(&range, half.len(), half))),
        ("206 with all", Answer::Bytes(with_length(&all, length, file))),
        ("206 without a range", Answer::Bytes(with_length("206 Partial Content", half.len(), half))),
        ("201", Answer::Bytes(with_length("201 Created", length, file))),
        ("202", Answer::Bytes(with_length("202 Accepted", length, file))),
        ("204", Answer::Bytes(answer("204 No Content", b""))),
        ("205", Answer::Bytes(with_length("205 Reset Content", 0, b""))),
        ("304", Answer::Bytes(answer("304 Not Modified", b""))),
        ("101", Answer::Bytes(answer("101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade", file))),
        ("103 and no more", Answer::Bytes(answer("103 Early Hints", b""))),
        ("300", Answer::Bytes(with_length("300 Multiple Choices", length, file))),
        ("no length, all of it, closed", Answer::Bytes(answer(NO_LENGTH, file))),
        ("no length, half, closed", Answer::Bytes(answer(NO_LENGTH, half))),
        ("no length, half, reset", Answer::Reset(answer(NO_LENGTH, half))),
        ("HTTP/1.0 without a length", Answer::Bytes(in_1_0(answer("200 OK", file)))),
        ("chunked in HTTP/1.0", Answer::Bytes(in_1_0(chunked(file, "0\r\n\r\n")))),
        ("shorter than its length, closed", Answer::Bytes(with_length("200 OK", length, half))),
        ("shorter than its length, reset", Answer::Reset(with_length("200 OK", length, half))),
        (
            "a length beside another coding",
            Answer::Bytes(answer(&format!("200 OK\r\nTransfer-Encoding: x\r\nContent-Length: {length}"), file)),
        ),
        (
            "two lengths",
            Answer::Bytes(answer(&format!("200 OK\r\nContent-Length: {length}\r\nContent-Length: 9"), file)),
        ),
        ("no last chunk, closed", Answer::Bytes(chunked(file, ""))),
        ("no last chunk, reset", Answer::Reset(chunked(file, ""))),
        ("a chunk that is cut", Answer::Bytes(chunked(file, "ff\r\nxyz"))),
    ]
}

/// Asks for a motion whose file is answered like this; the ending, and the names of the files that are kept.
fn motion(answer: impl Fn() -> Answer + Send + Sync + 'static) -> (String, Vec<String>) {
    let raw = Raw::start(move |_| answer());
    ending_of(&format!("http://{}/job.puls", raw.addr), Setup::new(Generation::V2))
}

fn ending_of(url: &str, setup: Setup) -> (String, Vec<String>) {
    let bench = setup.start();
    bench.send(1, "motion", "ready", &json!({"motion_url": url}));
    // One action at a time: its ending has come when the next one's has.
    bench.expect(2, "settings", "completed");
    let endings = bench.endings(1, "motion");
    assert_eq!(endings.len(), 1, "{endings:?}");
    let mut names: Vec<_> =
        bench.jobs().iter().map(|path| path.extension().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    bench.stop().2.unwrap();
    (endings[0].clone(), names)
}

/// An answer that can be given more than once.
fn again(answer: &Answer) -> Answer {
    match answer {
        Answer::Bytes(bytes) => Answer::Bytes(bytes.clone()),
        Answer::Reset(bytes) => Answer::Reset(bytes.clone()),
        _ => unreachable!("the others have no part here"),
    }
}

#[test]
fn a_job_that_nothing_says_is_whole_fails_and_is_not_kept() {
    for (what, answer) in not_whole(&square()) {
        assert_eq!(motion(move || again(&answer)), ("motion:failed (1)".into(), Vec::new()), "{what}");
    }
    let packed = gzip(&square());
    for (what, bytes) in [
        ("gzip, half", &packed[..packed.len() / 2]),
        ("gzip without its last byte", &packed[..packed.len() - 1]),
        ("gzip without its trailer", &packed[..packed.len() - 8]),
    ] {
        let bytes = answer(NO_LENGTH, bytes);
        let ended = motion(move || Answer::Bytes(bytes.clone()));
        assert_eq!(ended, ("motion:failed (1)".into(), Vec::new()), "{what}");
    }
}

#[test]
fn a_redirect_leads_to_a_whole_job_or_none() {
    let file = square();
    for (answered, ending) in [
        (with_length("200 OK", file.len(), &file), "motion:completed (1)"),
        (with_length("206 Partial Content", file.len(), &file), "motion:failed (1)"),
        (answer(NO_LENGTH, &file), "motion:failed (1)"),
    ] {
        let raw = Raw::start(move |asked| match asked.what.as_str() {
            "GET /redirected.puls" => {
                Answer::Bytes(answer("302 Found\r\nLocation: /job.puls\r\nContent-Length: 0\r\nConnection: close", b""))
            }
            _ => Answer::Bytes(answered.clone()),
        });
        let ended = ending_of(&format!("http://{}/redirected.puls", raw.addr), Setup::new(Generation::V2));
        assert_eq!(ended.0, ending);
    }
}

#[test]
fn a_job_that_is_said_to_be_whole_is_kept() {
    let (file, packed) = (square(), gzip(&square()));
    for (what, bytes) in [
        ("as long as it says", with_length("200 OK", file.len(), &file)),
        ("chunks and a last one", chunked(&file, "0\r\n\r\n")),
        ("chunks, a last one and trailers", chunked(&file, "0\r\nX-Checksum: 1\r\n\r\n")),
        ("behind early hints", [answer("103 Early Hints", b""), with_length("200 OK", file.len(), &file)].concat()),
        ("gzip with its trailer, closed", answer(NO_LENGTH, &packed)),
        ("gzip in chunks", chunked(&packed, "0\r\n\r\n")),
    ] {
        let ended = motion(move || Answer::Bytes(bytes.clone()));
        assert_eq!(ended, ("motion:completed (1)".into(), vec!["info".into(), "puls".into()]), "{what}");
    }
}

/// A service behind TLS that sends this and closes the connection below TLS, without a `close_notify`.
fn torn_tls(bytes: Vec<u8>) -> (String, String) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (pem, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let identity = native_tls::Identity::from_pkcs8(pem.as_bytes(), key.as_bytes()).unwrap();
    let acceptor = native_tls::TlsAcceptor::new(identity).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/job.puls", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let mut stream = acceptor.accept(tcp.try_clone().unwrap()).unwrap();
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
fn a_job_cut_below_tls_is_judged_by_what_has_come() {
    let (file, packed) = (square(), gzip(&square()));
    let kept: &[&str] = &["info", "puls"];
    for (what, bytes, ending, names) in [
        ("no length", answer(NO_LENGTH, &file), "failed", &[] as &[&str]),
        ("no length, half", answer(NO_LENGTH, &file[..file.len() / 2]), "failed", &[]),
        ("gzip, half", answer(NO_LENGTH, &packed[..packed.len() / 2]), "failed", &[]),
        ("shorter than its length", with_length("200 OK", file.len() + 1, &file), "failed", &[]),
        ("no last chunk", chunked(&file, ""), "failed", &[]),
        ("gzip with its trailer", answer(NO_LENGTH, &packed), "completed", kept),
        ("as long as it says", with_length("200 OK", file.len(), &file), "completed", kept),
        ("a last chunk", chunked(&file, "0\r\n\r\n"), "completed", kept),
    ] {
        let (url, pem) = torn_tls(bytes);
        let certificates = folder();
        let ca_file = certificates.path().join("own.pem");
        fs::write(&ca_file, pem).unwrap();
        let setup = Setup::new(Generation::V2).config(move |config| config.service.ca_file = Some(ca_file));
        let ended = ending_of(&url, setup);
        assert_eq!(ended, (format!("motion:{ending} (1)"), names.iter().map(ToString::to_string).collect()), "{what}");
    }
}

#[test]
fn firmware_that_nothing_says_is_whole_is_not_kept() {
    let firmware = b"firmware 9.9.9, all of it\n";
    let fetched = |file: Answer| {
        let raw = Raw::start({
            let good = good();
            move |asked| match asked.what.as_str() {
                "GET /update/current" => {
                    let host = asked.head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
                    http(200, &format!(r#"{{"version":"9.9.9","download_url":"http://{host}/firmware"}}"#))
                }
                "GET /firmware" => again(&file),
                _ => good(asked),
            }
        });
        let (mut emulator, folder) = raw.machine(|config| config.service.protocol = Some(Generation::V1));
        emulator.connect().unwrap();
        // Nobody has to wait for its answer to a Close.
        drop(raw.socket());
        assert!(raw.requests().contains(&"GET /firmware".to_owned()));
        let kept: Vec<_> = fs::read_dir(folder.path().join("firmware"))
            .map(|entries| entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect())
            .unwrap_or_default();
        kept
    };
    for (what, answer) in not_whole(firmware) {
        assert_eq!(fetched(answer), Vec::<Vec<u8>>::new(), "{what}");
    }
    let packed = gzip(firmware);
    assert_eq!(fetched(Answer::Bytes(answer(NO_LENGTH, &packed))), Vec::<Vec<u8>>::new(), "firmware is no job");
    assert_eq!(fetched(Answer::Bytes(chunked(firmware, "0\r\n\r\n"))), [firmware]);
    assert_eq!(fetched(Answer::Bytes(with_length("200 OK", firmware.len(), firmware))), [firmware]);
}
