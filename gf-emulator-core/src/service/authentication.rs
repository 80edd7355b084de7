//! Signing in.
//!
//! `POST {server}/machines/sign_in` with JSON: the serial number with an `S` in front, and the password. The answer has
//! two tokens. `auth_token` is the bearer token of every later request; it expires after about six hours. `ws_token` is
//! the last path segment of the WebSocket's URL; it is valid for one connection within about 30 seconds, so every
//! connection starts with a sign-in. (From the protocol's description; the lifetimes are not measured.)

use std::time::Duration;

use serde::Deserialize;

use crate::net::http::{Http, Method, Request, Response};
use crate::net::retry::retry;
use crate::net::url::Url;
use crate::{Config, Error, Result, Secret};

/// Longer than any token seen (a JWT of a few hundred bytes), and short enough for a header.
const MAX_TOKEN_LENGTH: usize = 8 << 10;

/// A serial number and a password, and where to sign in with them.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    url: Url,
    serial: u32,
    password: Secret,
}

/// The tokens that a sign-in returns.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) websocket: Secret,
    pub(crate) bearer: Secret,
}

#[derive(Deserialize)]
struct SignInAnswer {
    ws_token: String,
    auth_token: String,
}

impl Credentials {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        Ok(Self {
            url: Url::parse(&config.service.server_url)?.join("machines/sign_in"),
            serial: config.machine.serial,
            password: config.machine.password.clone(),
        })
    }

    /// Signs in, retrying with backoff for up to `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::SignInRefused`] at once if the credentials are wrong (400, 401, 422); [`Error::Interrupted`]; the last
    /// error when the time is up.
    pub(crate) fn sign_in_with_retries(&self, http: &Http, timeout: Duration) -> Result<Tokens> {
        retry("sign-in", http.cancel_token(), http.telemetry(), timeout, |_| self.sign_in(http))
    }

    /// Signs in, without retrying.
    pub(crate) fn sign_in(&self, http: &Http) -> Result<Tokens> {
        let body = serde_json::json!({
            "serial": format!("S{}", self.serial),
            "password": self.password.reveal(),
        })
        .to_string();
        let request = Request {
            method: Method::Post,
            url: &self.url,
            bearer: None,
            content_type: Some("application/json"),
            body: &body.into(),
            on_sent: None,
            confidential: true,
        };
        let response = http.send(request)?;
        match response.status {
            200 => {
                let tokens = self.read(response)?;
                http.telemetry().secrets().add_token(&tokens.websocket);
                http.telemetry().secrets().add_token(&tokens.bearer);
                Ok(tokens)
            }
            400 | 401 | 403 | 422 => Err(Error::SignInRefused { status: response.status }),
            _ => Err(response.into_error()),
        }
    }

    fn read(&self, response: Response) -> Result<Tokens> {
        let SignInAnswer { ws_token, auth_token } = response.json()?;
        let wrong = |what: &str| Err(Error::Answer { from: self.url.to_string(), what: what.into() });
        // One becomes a path segment, the other a header value. They come from the service and are not trusted.
        if !is_token(&ws_token, |c| c.is_ascii_alphanumeric() || b"-._~+=:@!$&'()*,;".contains(&c)) {
            return wrong("a ws_token that is not a path segment");
        }
        if !is_token(&auth_token, |c| c.is_ascii_graphic()) {
            return wrong("an auth_token that is not a header value");
        }
        log::info!("signed in");
        Ok(Tokens { websocket: Secret::new(ws_token), bearer: Secret::new(auth_token) })
    }
}

fn is_token(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.len() <= MAX_TOKEN_LENGTH && text != "." && text != ".." && text.bytes().all(allowed)
}
