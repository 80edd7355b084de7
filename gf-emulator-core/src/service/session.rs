//! [`Session`]: the HTTP requests of a signed-in machine, over the [`Uplink`] trait.
//!
//! The bearer token is sent to the two service origins only, and never with a presigned upload. On a 401 the token has
//! expired: the session signs in again and repeats the request once.

use std::sync::{Arc, Mutex};

use tungstenite::Bytes;

use super::authentication::{Credentials, Tokens};
use super::uplink::{FirmwareOffer, Uplink, Upload};
use crate::net::http::{Http, Method, OnSent, Request, Response};
use crate::net::url::{Origin, Url};
use crate::storage::{Download, DownloadEnd};
use crate::sync::lock;
use crate::{Config, Error, Result, Secret};

const MAX_REDIRECTS: usize = 5;

/// The HTTP requests of a signed-in machine.
pub(crate) struct Session {
    http: Http,
    credentials: Credentials,
    server: Url,
    status: Url,
    /// Shared with the sessions that [`Uplink::second`] returns.
    bearer: Arc<Mutex<Option<Secret>>>,
}

/// How a request is authorized.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Authorization {
    /// By the bearer token, if the URL has the service's origin.
    Bearer,
    /// By the URL itself: it is presigned.
    Presigned,
}

impl Session {
    pub(crate) fn new(config: &Config, http: Http) -> Result<Self> {
        Ok(Self {
            http,
            credentials: Credentials::new(config)?,
            server: Url::parse(&config.service.server_url)?,
            status: Url::parse(&config.service.status_service_url)?,
            bearer: Arc::default(),
        })
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Returns the URL of the WebSocket. The token is its last path segment.
    pub(crate) fn websocket_url(&self, token: &Secret) -> Url {
        self.status.join(token.reveal())
    }

    /// Stores the bearer token of a sign-in and returns the WebSocket's.
    pub(crate) fn adopt(&self, tokens: Tokens) -> Secret {
        *lock(&self.bearer) = Some(tokens.bearer);
        tokens.websocket
    }

    fn bearer_for(&self, origin: &Origin) -> Option<Secret> {
        let origin = origin.over_http();
        let is_the_services = [&self.server, &self.status].iter().any(|url| url.origin().over_http() == origin);
        if is_the_services { lock(&self.bearer).clone() } else { None }
    }

    /// Sends a request; once more after a new sign-in if the token has expired. A GET follows redirects, all under one
    /// deadline.
    fn exchange(
        &self,
        method: Method,
        url: Url,
        content_type: Option<&'static str>,
        body: &Bytes,
        on_sent: Option<OnSent<'_>>,
        authorization: Authorization,
    ) -> Result<Response> {
        let (mut url, mut authorization) = (url, authorization);
        let mut repeated = false;
        let mut redirects = 0;
        let mut deadline = self.http.deadline(body);
        loop {
            let bearer = if authorization == Authorization::Bearer { self.bearer_for(url.origin()) } else { None };
            let request = Request {
                method,
                url: &url,
                bearer: bearer.as_ref(),
                content_type,
                body,
                on_sent,
                confidential: false,
            };
            let response = self.http.send_before(deadline, request)?;
            match response.status {
                200..=299 => return Ok(response),
                401 if bearer.is_some() && !repeated => {
                    response.drain();
                    // Another request or a reconnection may have signed in meanwhile.
                    if *lock(&self.bearer) == bearer {
                        log::info!("the token has expired: signing in again");
                        let _websocket_token = self.adopt(self.credentials.sign_in(&self.http)?);
                    }
                    repeated = true;
                    deadline = self.http.deadline(body);
                }
                301 | 302 | 303 | 307 | 308 if method == Method::Get && redirects < MAX_REDIRECTS => {
                    let Some(next) = response.location().map(|location| url.resolve_location(location)) else {
                        return Err(Error::Answer {
                            from: url.to_string(),
                            what: "a redirect without a Location".into(),
                        });
                    };
                    response.drain();
                    let next = next?;
                    // Drop the token once a redirect leaves the origin, even if a later one leads back.
                    if next.origin() != url.origin() {
                        authorization = Authorization::Presigned;
                    }
                    url = next;
                    redirects += 1;
                }
                _ => return Err(response.into_error()),
            }
        }
    }

    /// Redacts secrets in an error: a service may repeat them in a redirect, a host name or a path.
    fn without_secrets<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|e| e.redacted(self.http.telemetry().secrets()))
    }

    /// Parses a URL from the service. A service behind https must not name plain text, not even on loopback.
    fn parse_untrusted(&self, text: &str) -> Result<Url> {
        let url = Url::parse(text)?.over_http();
        if self.server.origin().scheme.is_encrypted() && !url.origin().scheme.is_encrypted() {
            return Err(Error::Url { url: url.to_string(), reason: "a service behind https names plain text" });
        }
        Ok(url)
    }

    /// Requests a file. Only 200 carries a whole file: 204 has no body, and 206 has a part.
    fn get(&self, url: Url) -> Result<Response> {
        let response = self.exchange(Method::Get, url, None, &Bytes::new(), None, Authorization::Bearer)?;
        if response.status == 200 { Ok(response) } else { Err(response.into_error()) }
    }

    fn send(&self, method: Method, url: Url, content_type: Option<&'static str>, body: &Bytes) -> Result<()> {
        self.exchange(method, url, content_type, body, None, Authorization::Bearer).map(Response::drain)
    }

    /// Uploads a picture to its endpoint, or to the service's own path if it has none.
    fn put_picture(&self, upload: &Upload<'_>) -> Result<()> {
        const JPEG: Option<&str> = Some("image/jpeg");
        let (method, url, authorization) = if let Some(endpoint) = upload.endpoint() {
            (Method::Put, self.parse_untrusted(endpoint)?, Authorization::Presigned)
        } else {
            let route = format!("api/machines/{}/{}", upload.kind(), upload.action_id());
            (Method::Post, self.server.join(&route), Authorization::Bearer)
        };
        let response = self.exchange(method, url, JPEG, upload.bytes(), Some(upload.on_sent()), authorization)?;
        match (method, response.status) {
            (Method::Post, _) | (_, 200 | 201 | 204) => {
                response.drain();
                Ok(())
            }
            _ => Err(response.into_error()),
        }
    }

    /// Opens a file at a URL from the service.
    fn open(&self, url: &str) -> Result<Download> {
        let url = self.parse_untrusted(url)?;
        let from = self.http.telemetry().secrets().redact(&url.to_string());
        let response = self.get(url)?;
        let end = match response.content_length() {
            Some(length) => DownloadEnd::Length(length),
            None if response.is_chunked() => DownloadEnd::LastChunk,
            None => DownloadEnd::Unknown,
        };
        let cancel = self.http.cancel_token().clone();
        Ok(Download::new(from, end, response.download()).cancelled_by(move || cancel.is_cancelled()))
    }
}

impl Uplink for Session {
    fn upload(&self, upload: &Upload<'_>) -> Result<()> {
        self.without_secrets(self.put_picture(upload))
    }

    fn download(&self, url: &str) -> Result<Download> {
        self.without_secrets(self.open(url))
    }

    fn post_event(&self, body: &str) -> Result<()> {
        let url = self.status.over_http().join("api/event");
        // A 1.x machine sends JSON without a Content-Type (measured).
        self.without_secrets(self.send(Method::Post, url, None, &Bytes::copy_from_slice(body.as_bytes())))
    }

    fn put_status(&self, body: &str) -> Result<()> {
        let url = self.server.join("api/machines/status");
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.without_secrets(self.send(Method::Put, url, Some("application/json"), &body))
    }

    fn firmware(&self) -> Result<FirmwareOffer> {
        let answer = self.get(self.server.join("update/current")).and_then(Response::json);
        self.without_secrets(answer)
    }

    fn second(&self) -> Option<Arc<dyn Uplink>> {
        Some(Arc::new(Self {
            http: self.http.another(),
            credentials: self.credentials.clone(),
            server: self.server.clone(),
            status: self.status.clone(),
            bearer: Arc::clone(&self.bearer),
        }))
    }

    fn cancel(&self) {
        self.http.cancel_token().cancel();
    }

    fn reset(&self) {
        self.http.cancel_token().reset();
    }

    fn close_idle(&self) {
        self.http.close_idle();
    }
}
