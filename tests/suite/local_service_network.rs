//! A machine that uses the local service from another address, with a root certificate that is kept.

use std::fs;
use std::net::TcpListener;

use gf_emulator_core::local_service::{Behaviour, LocalService, LocalServiceError, Outcome};
use gf_emulator_tests::{LIMIT, run_machine_trusting, square};

fn behaviour() -> Behaviour {
    Behaviour::new().time_scale(0.0).print("one", square()).once()
}

/// Other loopback addresses stand for other computers. Not every system has them.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "needs 127.0.0.2 and 127.0.0.3")]
fn prints_over_tls_from_another_address_across_two_starts() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let builder = || LocalService::builder().behaviour(behaviour()).ca_dir(&kept);

    let service = builder().listen("127.0.0.2:0").start().unwrap();
    assert_eq!(service.http_url(), format!("https://127.0.0.2:{}", service.addr().port()));
    // The machine trusts the certificate of the first start for good.
    let trusted = folder.path().join("trusted.pem");
    fs::copy(kept.join("ca.pem"), &trusted).unwrap();
    let machine = run_machine_trusting(&service, 1, &trusted);
    assert_eq!(service.outcome(LIMIT), Some(Outcome::Done), "{:#?}", service.seen());
    machine.stop();
    service.stop();

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("https://127.0.0.3:{port}");
    let service = builder().listen(format!("0.0.0.0:{port}")).public_url(format!("{url}/")).start().unwrap();
    assert_eq!((service.http_url(), service.ws_url()), (url.as_str(), format!("wss://127.0.0.3:{port}")));
    let machine = run_machine_trusting(&service, 1, &trusted);
    assert_eq!(service.outcome(LIMIT), Some(Outcome::Done), "{:#?}", service.seen());
    machine.stop();
}

#[test]
fn plain_text_is_for_loopback_addresses_alone() {
    for (listen, public_url) in [("0.0.0.0:0", None), ("127.0.0.1:0", Some("http://laser.example:8080"))] {
        let mut builder = LocalService::builder().tls(false).listen(listen);
        if let Some(url) = public_url {
            builder = builder.public_url(url);
        }
        let error = builder.start().unwrap_err();
        let LocalServiceError::PlainText { address } = error else { panic!("{error}") };
        assert!(address.starts_with(public_url.unwrap_or("0.0.0.0:")), "{address}");
    }
}
