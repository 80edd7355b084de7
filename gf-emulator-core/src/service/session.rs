//! The HTTP side of a signed-in machine: which requests there are, who gets the token, where a redirect may lead.
//!
//! The bearer goes to the two service origins and nowhere else, and never with a presigned upload. A 401 means that it
//! has expired: sign in, and send the same request once more.

use std::sync::{Mutex, PoisonError};

use tungstenite::Bytes;

use crate::net::CancelToken;
use crate::net::http::{Http, Method, Request, Response};
use crate::net::url::{Origin, Url};
use crate::service::authentication::{Credentials, Tokens};
use crate::service::firmware::FirmwareOffer;
use crate::service::uplink::{Download, DownloadEnd, Uplink, Upload};
use crate::{Config, Error, Result, Secret};

const MOST_REDIRECTS: usize = 5;

/// A signed-in machine's requests.
pub(crate) struct Session {
    http: Http,
    credentials: Credentials,
    server: Url,
    status: Url,
    bearer: Mutex<Option<Secret>>,
}

/// What to send along that says who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Authority {
    /// The bearer, where the origin is the service's.
    Bearer,
    /// Nothing: the URL is presigned.
    Presigned,
}

impl Session {
    pub(crate) fn new(config: &Config, http: Http) -> Result<Self> {
        Ok(Self {
            http,
            credentials: Credentials::new(config)?,
            server: Url::parse(&config.service.server_url)?,
            status: Url::parse(&config.service.status_service_url)?,
            bearer: Mutex::default(),
        })
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The WebSocket's address, of which the token is the last part.
    pub(crate) fn websocket_url(&self, token: &Secret) -> Url {
        self.status.join(token.reveal())
    }

    /// Takes up what signing in brought, and hands on the token for the WebSocket.
    pub(crate) fn adopt(&self, tokens: Tokens) -> Secret {
        *self.bearer.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokens.bearer);
        tokens.websocket
    }

    fn bearer_for(&self, origin: &Origin) -> Option<Secret> {
        let origin = origin.over_http();
        let is_the_services = [&self.server, &self.status].iter().any(|url| url.origin().over_http() == origin);
        if is_the_services { self.bearer.lock().unwrap_or_else(PoisonError::into_inner).clone() } else { None }
    }

    /// One request, with the token where it belongs, replayed once where that has expired. Downloads follow redirects,
    /// all of them before one deadline.
    fn exchange(
        &self,
        method: Method,
        url: Url,
        content_type: Option<&'static str>,
        body: &Bytes,
        authority: Authority,
    ) -> Result<Response> {
        let (mut url, mut authority) = (url, authority);
        let mut replayed = false;
        let mut redirects = 0;
        let mut deadline = self.http.deadline(body);
        loop {
            let bearer = if authority == Authority::Bearer { self.bearer_for(url.origin()) } else { None };
            let request =
                Request { method, url: &url, bearer: bearer.as_ref(), content_type, body, confidential: false };
            let response = self.http.send_before(deadline, request)?;
            match response.status {
                200..=299 => return Ok(response),
                401 if bearer.is_some() && !replayed => {
                    log::info!("the sign-in has expired: signing in again");
                    response.finish();
                    let _for_a_new_connection_only = self.adopt(self.credentials.sign_in(&self.http)?);
                    replayed = true;
                    deadline = self.http.deadline(body);
                }
                301 | 302 | 303 | 307 | 308 if method == Method::Get && redirects < MOST_REDIRECTS => {
                    let Some(next) = response.location().map(|location| url.follow(location)) else {
                        return Err(Error::Answer { from: url.to_string(), what: "a redirect to nowhere".into() });
                    };
                    response.finish();
                    let next = next?;
                    // Who sends us elsewhere does not decide that we go there in the machine's name.
                    if next.origin() != url.origin() {
                        authority = Authority::Presigned;
                    }
                    url = next;
                    redirects += 1;
                }
                _ => return Err(response.into_error()),
            }
        }
    }

    /// A URL that the service has named: one that is reached over https sends nobody to plain text, on this host either.
    fn named(&self, text: &str) -> Result<Url> {
        let url = Url::parse(text)?.over_http();
        if self.server.origin().scheme.is_encrypted() && !url.origin().scheme.is_encrypted() {
            return Err(Error::Url { url: url.to_string(), reason: "a service behind https names plain text" });
        }
        Ok(url)
    }

    /// A file: 200 and nothing else. Nobody asked for a part of one, and other answers have none.
    fn get(&self, url: Url) -> Result<Response> {
        let response = self.exchange(Method::Get, url, None, &Bytes::new(), Authority::Bearer)?;
        if response.status == 200 { Ok(response) } else { Err(response.into_error()) }
    }

    fn send(&self, method: Method, url: Url, content_type: Option<&'static str>, body: &Bytes) -> Result<()> {
        self.exchange(method, url, content_type, body, Authority::Bearer).map(Response::finish)
    }

    /// Sends a picture to where the service has named, or to the service.
    fn put_picture(&self, upload: &Upload<'_>) -> Result<()> {
        const JPEG: Option<&str> = Some("image/jpeg");
        let Some(endpoint) = upload.endpoint else {
            let route = format!("api/machines/{}/{}", upload.kind, upload.action_id);
            return self.send(Method::Post, self.server.join(&route), JPEG, upload.picture);
        };
        let response = self.exchange(Method::Put, self.named(endpoint)?, JPEG, upload.picture, Authority::Presigned)?;
        match response.status {
            200 | 201 | 204 => {
                response.finish();
                Ok(())
            }
            _ => Err(response.into_error()),
        }
    }

    /// Asks for a file that the service has named.
    fn open(&self, url: &str) -> Result<Download> {
        let url = self.named(url)?;
        let from = self.http.tap().secrets().redact(&url.to_string());
        let response = self.get(url)?;
        let end = match response.length() {
            Some(length) => DownloadEnd::Length(length),
            None if response.is_chunked() => DownloadEnd::LastChunk,
            None => DownloadEnd::Unknown,
        };
        Ok(Download { from, end, reader: response.download(), cancel: self.cancel_token().clone() })
    }
}

impl Uplink for Session {
    fn upload(&self, upload: &Upload<'_>) -> Result<()> {
        self.put_picture(upload).map_err(|e| e.redacted(self.http.tap().secrets()))
    }

    fn fetch(&self, url: &str) -> Result<Download> {
        self.open(url).map_err(|e| e.redacted(self.http.tap().secrets()))
    }

    fn post_event(&self, body: &str) -> Result<()> {
        // As the 1.x machine: JSON with no Content-Type.
        self.send(
            Method::Post,
            self.status.over_http().join("api/event"),
            None,
            &Bytes::copy_from_slice(body.as_bytes()),
        )
    }

    fn put_status(&self, body: &str) -> Result<()> {
        let url = self.server.join("api/machines/status");
        self.send(Method::Put, url, Some("application/json"), &Bytes::copy_from_slice(body.as_bytes()))
    }

    fn firmware(&self) -> Result<FirmwareOffer> {
        self.get(self.server.join("update/current"))?.json()
    }

    fn cancel_token(&self) -> &CancelToken {
        self.http.cancel_token()
    }
}
