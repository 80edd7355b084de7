//! Signing in: who this machine is, said once for every connection.
//!
//! `POST {server}/machines/sign_in` with the serial number behind an `S` and the password, as JSON; the answer holds two
//! tokens. `auth_token` goes with every later request to the service, for about six hours. `ws_token` is part of the
//! WebSocket's address, good for one connection within about 30 seconds: so every connection signs in anew.

use std::time::Duration;

use serde::Deserialize;

use crate::net::http::{Http, Method, Request, Response};
use crate::net::retry::retry;
use crate::net::url::Url;
use crate::{Config, Error, Result, Secret};

/// Longer than any token seen (a JWT of some hundred bytes), short enough for a header.
const LONGEST_TOKEN: usize = 8 << 10;

/// What signs in.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    url: Url,
    serial: u32,
    password: Secret,
}

/// What signing in brings.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) websocket: Secret,
    pub(crate) bearer: Secret,
}

#[derive(Deserialize)]
struct Answer {
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

    /// Signs in, with retries for up to `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::SignInRefused`] at once if the credentials are rejected (400, 401, 422); [`Error::Interrupted`]; the last
    /// attempt's error after the timeout.
    pub(crate) fn sign_in_with_retries(&self, http: &Http, timeout: Duration) -> Result<Tokens> {
        retry("sign-in", http.cancel_token(), timeout, |_| self.sign_in(http))
    }

    /// Signs in, without retries.
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
            confidential: true,
        };
        let response = http.send(request)?;
        match response.status {
            200 => {
                let tokens = self.read(response)?;
                http.tap().secrets().learn(&tokens.websocket);
                http.tap().secrets().learn(&tokens.bearer);
                Ok(tokens)
            }
            400 | 401 | 403 | 422 => Err(Error::SignInRefused { status: response.status }),
            _ => Err(response.into_error()),
        }
    }

    fn read(&self, response: Response) -> Result<Tokens> {
        let Answer { ws_token, auth_token } = response.json()?;
        let wrong = |what: &str| Err(Error::Answer { from: self.url.to_string(), what: what.into() });
        // One becomes a path segment and the other a header: neither may be anything else.
        if !is_token(&ws_token, |c| c.is_ascii_alphanumeric() || b"-._~+=:@!$&'()*,;".contains(&c)) {
            return wrong("a ws_token that is no path segment");
        }
        if !is_token(&auth_token, |c| c.is_ascii_graphic()) {
            return wrong("an auth_token that is no header value");
        }
        log::info!("signed in");
        Ok(Tokens { websocket: Secret::new(ws_token), bearer: Secret::new(auth_token) })
    }
}

fn is_token(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.len() <= LONGEST_TOKEN && text != "." && text != ".." && text.bytes().all(allowed)
}
