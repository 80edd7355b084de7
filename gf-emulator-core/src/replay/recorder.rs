//! Records what the local service sees.

use crate::local_service::{Bearer, Request, Seen};
use crate::record::{Body, Event, Exchange, Part, Recorder, Unredacted};

impl Recorder {
    /// Records an event of the local service, from its [`observer`](crate::local_service::Builder::observer). Never
    /// waits for the disk, since the observer blocks the service.
    pub fn observe(&self, seen: &Seen) {
        let service = self.about().service.as_deref().unwrap_or_default();
        match seen {
            _ if seen.is_redundant() => {}
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
        error: (request.status == 0).then(|| "connection closed without a response".to_owned()),
        request: Part { headers, bytes: request.body_len as u64, ..Part::default() },
        ..Exchange::default()
    };
    Unredacted::Http(Box::new(exchange), Body::Bytes(request.body.to_vec().into()), Body::None)
}
