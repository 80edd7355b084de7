//! Steps that need no running action: sending, the firmware check, and the `start` steps of a table.

use serde_json::json;

use super::messages::{MessageSender, milli_epoch};
use super::{Channel, Emit, Step, StepKind, Table, Values, Variable, printable};
use crate::service::{FirmwareOffer, Uplink, firmware};
use crate::{Config, Error};

/// Runs the `start` steps of a table. Failures are logged: they must not keep the machine from going online.
pub(crate) fn run_start_steps(
    config: &Config,
    table: &Table,
    messages: &MessageSender,
    uplink: &dyn Uplink,
) -> Result<(), Error> {
    let mut values = Values::new();
    let mut offer = None;
    for step in &table.start {
        let outcome = match &step.kind {
            StepKind::Send(emit) => send(emit, &values, messages, uplink),
            StepKind::ProbeFirmware {} => probe_firmware(config, uplink).map(|found| {
                values.insert(Variable::AvailableFirmware, json!(found.version));
                offer = Some(found);
            }),
            StepKind::DownloadFirmware {} => match &offer {
                Some(offer) => download_firmware(config, uplink, offer),
                None => Ok(()),
            },
            _ => Ok(()),
        };
        match outcome {
            Ok(()) => {}
            Err(e @ (Error::Interrupted | Error::SignInRefused { .. })) => return Err(e),
            Err(e) => {
                log::warn!("firmware check: {e}");
                if !step.optional {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

pub(super) fn send(emit: &Emit, values: &Values, messages: &MessageSender, uplink: &dyn Uplink) -> crate::Result<()> {
    let body = || {
        let now = Values::from([(Variable::MilliEpoch, json!(milli_epoch()))]);
        emit.message.fill(&[&now, values])
    };
    match emit.channel {
        Channel::Event | Channel::Progress => {
            messages.send(emit, values);
            Ok(())
        }
        Channel::Web => uplink.post_event(&body()),
        Channel::Status => uplink.put_status(&body()),
    }
}

pub(super) fn send_all(steps: &[Step], messages: &MessageSender, values: &Values) {
    for emit in steps.iter().filter_map(|step| step.kind.emit()) {
        messages.send(emit, values);
    }
}

pub(super) fn probe_firmware(config: &Config, uplink: &dyn Uplink) -> crate::Result<FirmwareOffer> {
    let offer = uplink.firmware()?;
    let ours = &config.machine.firmware;
    if offer.version == *ours {
        log::info!("firmware {ours} is current");
    } else {
        log::info!("firmware {} is available, {ours} is configured", printable(&offer.version));
    }
    Ok(offer)
}

pub(super) fn download_firmware(config: &Config, uplink: &dyn Uplink, offer: &FirmwareOffer) -> crate::Result<()> {
    if offer.version == config.machine.firmware || !config.downloads_firmware() {
        return Ok(());
    }
    firmware::download(uplink, offer, &config.firmware.dir).map(|_| ())
}
