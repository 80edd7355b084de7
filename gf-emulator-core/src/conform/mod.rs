//! Conformance: takes a machine through [`Scenario`]s, and says which of them it passes.
//!
//! A [`Conformance`] is a [`LocalService`](crate::local_service::LocalService) without a script. It waits for a machine,
//! runs one scenario after the other, and decides from what the service sees of the machine. A scenario is a small JSON
//! file: what it demands, why, and its steps.
//!
//! ```no_run
//! use std::time::Duration;
//! use gf_emulator_core::conform::{Conformance, Options, Report, Scenario};
//! use gf_emulator_core::local_service::LocalService;
//!
//! let mut conformance = Conformance::start(LocalService::builder().tls(false), Options::default())?;
//! println!("point the machine at {}", conformance.service().http_url());
//! if conformance.wait_for_machine(Duration::from_secs(60)) {
//!     let scenarios = Scenario::built_in();
//!     let ask = &mut |task| println!("{task}");
//!     let verdicts = scenarios.iter().map(|scenario| conformance.run(scenario, ask)).collect();
//!     println!("{}", Report::new(verdicts).to_junit());
//! }
//! # Ok::<(), gf_emulator_core::local_service::LocalServiceError>(())
//! ```
//!
//! # What every scenario demands
//!
//! Whatever its steps are, a scenario fails if the machine
//!
//! - sends a line that is not a JSON object,
//! - ends an action twice, or (2.6) says something of an action after its end,
//! - does not answer a `settings` action after the last step.
//!
//! # Steps
//!
//! | step | |
//! |---|---|
//! | `{"send": {...}}` | sends the object as an action |
//! | `{"frame": [...]}` | sends a text frame with one line for each item: an object is an action, a string is sent as it is |
//! | `{"expect_event": {"name": "print:running", "id": 1}}` | waits for an event of that action, or of any if there is no `id`. `name` can be alternatives, `a\|b`, and end in `*`. `"settings": "full"` or `"empty"` is about the event's settings report |
//! | `{"expect_progress": {"name": "print:progress", "id": 1}}` | the same for a progress message |
//! | `{"expect_request": {"method": "PUT", "path": "/up/", "status": 200}}` | waits for a request with that method whose path starts with this. `"bearer": "absent"`, `"good"` or `"bad"` is about its token; `"user_agent": true` demands that header |
//! | `{"expect_held": "/dl/"}` | waits for a request that a fault holds back |
//! | `"expect_sign_in"` | waits for a sign-in with a serial number that begins with S, as JSON or form |
//! | `{"expect_connection": {"subprotocol": true}}` | waits for a WebSocket |
//! | `{"expect_closed": {"code": 1000}}` | waits for the machine's Close frame |
//! | `"expect_ping"`, `"expect_pong"` | waits for a ping or a pong |
//! | `{"never": {"name": "*", "id": 2}}` | fails if the event comes between the last event of that action that an earlier step has found, and the end of the scenario |
//! | `{"never_request": {"method": "GET", "path": "/dl/"}}` | the same for a request |
//! | `{"check": "ids_increase"}` | checks all messages so far: see [`Check`] |
//! | `{"drop": true}`, `{"close": 1001}` | ends the WebSocket, as in a [`Script`](crate::local_service::Script) |
//! | `"ping"` | sends a ping |
//! | `{"fault": {"status": 503, "on": "PUT:/up/", "times": 2}}` | adds a [`Fault`](crate::local_service::Fault) until the end of the scenario |
//! | `"release"` | sends the responses that are held back |
//! | `"expire_tokens"` | invalidates the bearer tokens |
//! | `{"operator": "open_lid"}` | see [`OperatorTask`] |
//!
//! Order is demanded of the events of one action, of requests, and of connections, each by itself; and a message that is
//! expected after a request must be sent after it. Every `expect` step also finds what came before the step, unless an
//! earlier step has found it or something after it. Waits last [`Options::timeout`].
//!
//! The `id` of an action is a number from 1 to 97 in the file; the machine gets a different one in each scenario. In actions,
//! `{http}` is the service's base URL, `{foreign}` the same service under another name, thus another origin, and
//! `{upload}` a presigned URL. The pulse files are at `{http}/dl/<name>.puls`. None of them needs the laser; all but
//! `fire-before-power`, which a machine must refuse, leave it off.

mod engine;
mod jobs;
mod judge;
mod pattern;
mod report;
mod scenario;

pub use self::engine::{Conformance, Options, Stopper};
pub use self::judge::Check;
pub use self::report::{Outcome, Report, Verdict};
pub use self::scenario::{OperatorTask, Scenario, ScenarioError};
