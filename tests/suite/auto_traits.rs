//! Which public types can be sent to and shared between threads. Losing one of these is a breaking change.

use gf_emulator_core::local_service::LocalService;
use gf_emulator_core::record::{Recorder, Recording};
use gf_emulator_core::{
    Config, Emulator, EmulatorEvent, Error, Handle, MachineQueues, Outgoing, Peer, Secret, Secrets, Tls, Tx, WsClient,
    actions, machine, puls, storage,
};

fn is_send<T: Send + 'static>() {}
fn is_sync<T: Sync>() {}

#[test]
fn public_types_are_send_and_sync() {
    macro_rules! both {
        ($($type:ty),* $(,)?) => { $( is_send::<$type>(); is_sync::<$type>(); )* };
    }
    both!(
        Config,
        Error,
        EmulatorEvent,
        Handle,
        Outgoing,
        Peer,
        MachineQueues,
        Secret,
        Secrets,
        Tls,
        Tx,
        WsClient,
        Recorder,
        LocalService,
        actions::Table,
        machine::Controls,
        machine::Job,
        puls::Measured,
        storage::AtomicFile,
    );
    // They own what is used by one thread at a time.
    is_send::<Emulator>();
    is_send::<Recording>();
    is_send::<storage::Download>();
}
