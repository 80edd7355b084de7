//! The options of commands that run the local service, for the addresses and certificates that machines get.

use std::io::Write;
use std::path::{Path, PathBuf};

use gf_emulator_core::local_service::{Builder, LocalService, LocalServiceError};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::{self, OpenOutput, notice, print};

/// The file of `--ca-dir` that machines must trust.
const CERTIFICATE_FILE: &str = "ca.pem";

/// What machines connect to, besides the address of `--listen`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListenArguments {
    /// The base URL that machines use, with scheme and port [default: the address of --listen]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Keep the root certificate (ca.pem) and its key in this folder, and use them again the next time
    #[arg(long, value_name = "DIR", conflicts_with = "plain")]
    ca_dir: Option<PathBuf>,
    /// Do not use TLS; only for loopback addresses
    #[arg(long)]
    plain: bool,
    /// Write the root certificate that machines must trust to this file (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "plain")]
    ca_out: Option<PathBuf>,
}

impl ListenArguments {
    /// Gives the options to the service.
    pub(crate) fn apply(&self, builder: Builder, listen: impl Into<String>) -> Builder {
        let mut builder = builder.listen(listen).tls(!self.plain);
        if let Some(url) = &self.public_url {
            builder = builder.public_url(url);
        }
        if let Some(folder) = &self.ca_dir {
            builder = builder.ca_dir(folder);
        }
        builder
    }

    /// Opens the file of `--ca-out`, which must not be one of `inputs`.
    pub(crate) fn open_ca_out(&self, inputs: &[&Path]) -> Result<Option<OpenOutput>, CliError> {
        self.ca_out.as_deref().map(|path| output::create(path, inputs)).transpose()
    }

    /// Returns the file with the root certificate that machines must trust, if there is one.
    fn ca_file(&self) -> Option<PathBuf> {
        let kept = self.ca_dir.as_ref().map(|folder| folder.join(CERTIFICATE_FILE));
        self.ca_out.clone().filter(|path| path != Path::new("-")).or(kept)
    }

    /// Returns what a machine's configuration needs, as JSON.
    pub(crate) fn to_json(&self, service: &LocalService) -> Value {
        self.warn(service);
        json!({
            "kind": "listening",
            "address": service.addr().to_string(),
            "server_url": service.http_url(),
            "status_service_url": service.ws_url(),
            "ca_file": self.ca_file().map(|path| path.display().to_string()),
        })
    }

    /// Prints what a machine's configuration needs, and what to do next.
    pub(crate) fn introduce(&self, service: &LocalService, next: &str) {
        self.warn(service);
        print(format_args!("listening on {}; a machine's configuration needs:\n", service.addr()));
        print(service.config_section(self.ca_file().as_deref()));
        print(format_args!("\nAny serial number and any password will do. {next}\n"));
    }

    /// Warns of an address that other computers can reach, or that they cannot use.
    fn warn(&self, service: &LocalService) {
        let address = service.addr();
        if !address.ip().is_loopback() {
            notice(format_args!("{address} can be reached from other computers: anyone there can use the service"));
        }
        if address.ip().is_unspecified() && self.public_url.is_none() {
            notice("the URLs are for machines on this computer; for others, add --public-url https://ADDRESS:PORT");
        }
    }
}

/// Writes the root certificate to the file of `--ca-out`.
pub(crate) fn write_ca(ca_out: Option<OpenOutput>, service: &LocalService) -> Result<(), CliError> {
    if let (Some(mut output), Some(pem)) = (ca_out, service.ca_pem()) {
        let written = output.file.write_all(pem.as_bytes());
        output.finish(written)?;
    }
    Ok(())
}

/// Returns the error of a service that cannot be started, with the option that is wrong.
pub(crate) fn cannot_start(error: LocalServiceError) -> CliError {
    match error {
        LocalServiceError::PublicUrl { .. } => CliError::usage(format_args!("--public-url: {error}")),
        LocalServiceError::KeptRoot { .. } => CliError::usage(format_args!("--ca-dir: {error}")),
        LocalServiceError::PlainText { .. } => CliError::usage(format_args!("--plain: {error}")),
        error => CliError::failed(error),
    }
}
