//! What the local service has seen, as a recording of the service's side.

use crate::local_service::{Bearer, Request, Seen};
use crate::record::{Body, Event, Exchange, Part, Recorder, Unredacted};

impl Recorder {
    /// Notes what the local service has seen, and never waits for a disk: every thread of the service waits for its
    /// observers. For its [`observer`](crate::local_service::Builder::observer).
    pub fn observe(&self, seen: &Seen) {
        let service = self.about().service.as_deref().unwrap_or_default();
        match seen {
            // That it was opened says as much.
            Seen::Http(request) if request.path == "/<ws_token>" && request.status == 101 => {}
            Seen::Http(request) => self.try_record(exchange(service, request)),
            Seen::WsOpened { .. } => {
                self.try_record(Unredacted::Event(Event::Opened { url: service.replacen("http", "ws", 1) }));
            }
            Seen::WsMessage { text, .. } => self.try_record(Unredacted::Out(text.as_str().into())),
            Seen::WsBinary(bytes) => {
                let detail = Some(format!("the machine sent a binary frame of {bytes} bytes"));
                self.try_record(Unredacted::Event(Event::State { state: "binary".into(), action_id: None, detail }));
            }
            Seen::WsSent(text) => self.try_record(Unredacted::In(text.clone())),
            Seen::WsClosed { code } => {
                let reason = code.map_or_else(|| "cut".to_owned(), |code| format!("closed by the machine ({code})"));
                self.try_record(Unredacted::Event(Event::Closed { reason }));
            }
            _ => {}
        }
    }
}

fn exchange(service: &str, request: &Request) -> Unredacted {
    let mut headers: serde_json::Map<_, _> =
        request.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    if request.bearer == Bearer::Bad {
        headers.insert("authorization".into(), "*** (not a token of this service)".into());
    }
    let exchange = Exchange {
        method: request.method.clone(),
        url: format!("{service}{}", request.path),
        has_query: request.has_query,
        status: (request.status > 0).then_some(request.status),
        error: (request.status == 0).then(|| "cut off without an answer".to_owned()),
        request: Part { headers, bytes: request.body_len as u64, ..Part::default() },
        ..Exchange::default()
    };
    Unredacted::Http(Box::new(exchange), Body::Bytes(request.body.to_vec().into()), Body::None)
}
