//! From a file, or its text, to a [`Config`]: the ways in, and the checks of a whole configuration.
//!
//! Walks the table of keys; knows no key by name but those without which there is nobody to sign in, and the one pair
//! whose meaning differs between the generations.

use std::io::Read;
use std::path::Path;

use super::interpolation::{Budget, Fault, Scope};
use super::keys::{self, Draft, HOSTNAME, KEYS, Key, Origin, PASSWORD, SERIAL};
use super::text::{Entry, Text, shown};
use super::value::{self, Checked};
use super::{Config, Generation, Problem, Problems, Proxy, Remark};
use crate::{Error, files};

/// More than any configuration needs, and little enough to be read whole.
const MAX_FILE_BYTES: usize = 1 << 20;

/// The environment variables that win over the file, by the field that they set.
const VARIABLES: [(&str, &str); 2] = [(SERIAL, "GF_MACHINE_SERIAL"), (PASSWORD, "GF_MACHINE_PASSWORD")];

/// A key that the file gives, directly or by `[DEFAULT]`.
struct Given<'t> {
    key: &'static Key,
    line: usize,
    /// By `[DEFAULT]`, which gives way to a key that stands where it belongs.
    by_default: bool,
    value: Result<String, Fault>,
    entry: &'t Entry,
}

impl Given<'_> {
    fn is_empty(&self) -> bool {
        self.value.as_ref().is_ok_and(String::is_empty)
    }
}

/// What a configuration is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// To sign in to a service.
    Online,
    /// To sign in nowhere: see [`Config::load_offline`].
    Offline,
}

/// A file's sections with everything filled in.
struct Reader<'t> {
    purpose: Use,
    text: &'t Text,
    scopes: Vec<Scope<'t>>,
    budget: Budget,
    problems: Vec<Problem>,
    remarks: Vec<Remark>,
}

impl Config {
    /// Reads a `.cfg` file of either generation of the Python client, or one with this project's own keys.
    ///
    /// `GF_MACHINE_SERIAL` and `GF_MACHINE_PASSWORD` in the environment win over the file. Where the file has no `proxy`,
    /// the environment's `HTTPS_PROXY` and the like count ([`Proxy::from_environment`]). What is odd but no problem
    /// (an unknown key, say) is logged as a warning. Relative paths in the file are relative to the current directory.
    ///
    /// ```no_run
    /// use gf_emulator_core::Config;
    ///
    /// let config = Config::from_file("gf-machine-emulator.cfg")?;
    /// println!("{} speaks {}", config.machine.hostname, config.generation());
    /// # Ok::<(), gf_emulator_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::File`] where the file cannot be read or is no regular file; [`Error::Config`] with everything that is wrong
    /// in it.
    pub fn from_file(path: impl AsRef<Path>) -> crate::Result<Self> {
        let path = path.as_ref();
        let (config, remarks) = Self::load(path)?;
        for remark in remarks {
            log::warn!("{}:{}: {}", path.display(), remark.line, remark.what);
        }
        Ok(config)
    }

    /// As [`Config::from_file`], with the remarks handed over in place of logged.
    ///
    /// # Errors
    ///
    /// As [`Config::from_file`].
    pub fn load(path: impl AsRef<Path>) -> crate::Result<(Self, Vec<Remark>)> {
        Self::load_for(Use::Online, path.as_ref())
    }

    /// As [`Config::load`], for a machine that signs in nowhere ([`Emulator::offline`](crate::Emulator::offline)): serial
    /// number, host name and password may be missing, the password is not checked, and the environment's proxies do not
    /// count. A serial number that is missing is 0.
    ///
    /// # Errors
    ///
    /// As [`Config::from_file`].
    pub fn load_offline(path: impl AsRef<Path>) -> crate::Result<(Self, Vec<Remark>)> {
        Self::load_for(Use::Offline, path.as_ref())
    }

    fn load_for(purpose: Use, path: &Path) -> crate::Result<(Self, Vec<Remark>)> {
        let file_error = |source| Error::File { doing: "read", path: path.into(), source };
        let mut bytes = Vec::new();
        // One byte more than is allowed tells that there is more.
        let limit = MAX_FILE_BYTES as u64 + 1;
        files::open(path)?.take(limit).read_to_end(&mut bytes).map_err(file_error)?;

        let source = path.display().to_string();
        let too_large = bytes.len() > MAX_FILE_BYTES;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            // Cut off by the limit, perhaps within a character.
            Err(_) if too_large => return Err(Error::Config(file_too_large(&source))),
            Err(error) => {
                let good = error.utf8_error().valid_up_to();
                let line = error.as_bytes()[..good].split(|&byte| byte == b'\n').count();
                let what = "not UTF-8: save the file in that encoding".into();
                return Err(
                    Problems { source, list: vec![Problem { line: Some(line), what }], remarks: Vec::new() }.into()
                );
            }
        };
        // A variable that is not Unicode is there all the same, and its value is then refused.
        let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        Ok(Self::read_cfg(purpose, &source, &text, &variable)?)
    }

    /// Reads the text of a `.cfg` file, with `variable` to look up environment variables.
    ///
    /// `source_name` is what problems name as their source. Two names of one thing, where both are given, must agree;
    /// among the 2.6 names alone, `[FACTORY_FIRMWARE]` wins over `[EMULATOR]`, and a remark says so.
    ///
    /// ```
    /// use gf_emulator_core::Config;
    ///
    /// let text = "[MACHINE]\nserial: 12345678\nhostname: ABC-123\n[EMULATOR]\nmotion_dir: jobs\n";
    /// let variable = |name: &str| (name == "GF_MACHINE_PASSWORD").then(|| "0123456789abcdef".repeat(4));
    /// let (config, remarks) = Config::from_cfg("example", text, &variable)?;
    /// assert_eq!(config.machine.serial, 12_345_678);
    /// assert_eq!(remarks[0].to_string(), "line 5: unknown key motion_dir in [EMULATOR]: [GENERAL] has it");
    /// # Ok::<(), gf_emulator_core::config::Problems>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Everything that is wrong, in the order of the lines, what is missing at the end.
    pub fn from_cfg(
        source_name: &str,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<Remark>), Problems> {
        Self::read_cfg(Use::Online, source_name, text, variable)
    }

    pub(super) fn read_cfg(
        purpose: Use,
        source_name: &str,
        text: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<Remark>), Problems> {
        if text.len() > MAX_FILE_BYTES {
            return Err(file_too_large(source_name));
        }
        let mut problems = Vec::new();
        let text = Text::parse(text, &mut problems);
        let mut reader = Reader::new(purpose, &text, problems);
        let config = reader.config(variable);

        let Reader { mut problems, mut remarks, .. } = reader;
        remarks.sort_by_key(|remark| remark.line);
        if problems.is_empty() {
            return Ok((config, remarks));
        }
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        // A value with a fault is met again by every value that refers to it.
        problems.dedup();
        Err(Problems { source: source_name.into(), list: problems, remarks })
    }

    /// Checks a configuration that was built in code, by the same rules as one from a file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, in the order of the fields.
    pub fn check(&self) -> Result<(), Problems> {
        self.check_fields(|_| true)
    }

    /// As [`Config::check`], for a machine that signs in nowhere: who it is and where its service is do not count.
    pub(crate) fn check_offline(&self) -> Result<(), Problems> {
        self.check_fields(|field| !field.starts_with("service.") && ![SERIAL, HOSTNAME, PASSWORD].contains(&field))
    }

    fn check_fields(&self, counts: impl Fn(&str) -> bool) -> Result<(), Problems> {
        fn base_url(url: &str, secure: &str, plain: &str) -> Checked<()> {
            let trimmed = value::url(url, secure, plain)?;
            if trimmed.len() == url.len() { Ok(()) } else { Err("without a slash at its end") }
        }
        fn path(path: &Path) -> Checked<()> {
            if path.as_os_str().is_empty() { Err("a path") } else { Ok(()) }
        }
        fn unit<T>(checked: Checked<T>) -> Checked<()> {
            checked.map(|_| ())
        }
        let Self { service, machine, firmware, emulator, motion, logging } = self;
        let optional = |text: &Option<String>, check: fn(&str) -> Checked<&str>| match text {
            Some(text) => unit(check(text)),
            None => Ok(()),
        };
        let checks = [
            ("service.server_url", base_url(&service.server_url, "https", "http")),
            ("service.status_service_url", base_url(&service.status_service_url, "wss", "ws")),
            ("service.ca_file", service.ca_file.as_deref().map_or(Ok(()), path)),
            ("service.user_agent", optional(&service.user_agent, value::header)),
            ("service.actions_file", service.actions_file.as_deref().map_or(Ok(()), path)),
            ("service.retry_for", unit(value::time(service.retry_for))),
            (SERIAL, unit(value::serial(&machine.serial.to_string()))),
            (HOSTNAME, unit(value::name(&machine.hostname))),
            (PASSWORD, unit(value::password(machine.password.reveal()))),
            ("machine.firmware", unit(value::version(&machine.firmware))),
            ("machine.app_version", optional(&machine.app_version, value::name)),
            ("machine.ip_address", unit(value::address(&machine.ip_address))),
            ("machine.head_id", value::head(machine.head_id)),
            ("machine.head_serial", value::head(machine.head_serial)),
            ("machine.head_firmware", value::head(machine.head_firmware)),
            ("firmware.dir", path(&firmware.dir)),
            ("emulator.image_dir", path(&emulator.image_dir)),
            ("emulator.material_thickness", unit(value::thickness(&emulator.material_thickness))),
            ("emulator.time_scale", unit(value::time_scale(emulator.time_scale))),
            ("emulator.warm_up", unit(value::time(emulator.warm_up))),
            ("emulator.cool_down", unit(value::time(emulator.cool_down))),
            ("motion.dir", path(&motion.dir)),
            ("motion.remark_bytes", unit(value::limit(motion.remark_bytes))),
            ("motion.refuse_bytes", unit(value::limit(motion.refuse_bytes))),
            ("motion.refuse_inflated_bytes", unit(value::limit(motion.refuse_inflated_bytes))),
            ("logging.file", logging.file.as_deref().map_or(Ok(()), path)),
            ("logging.sent_images_dir", logging.sent_images_dir.as_deref().map_or(Ok(()), path)),
        ];
        let wrong = |(field, checked): (&str, Checked<()>)| {
            checked.err().map(|right| Problem { line: None, what: format!("{field} must be {right}") })
        };
        let list: Vec<_> = checks.into_iter().filter(|(field, _)| counts(field)).filter_map(wrong).collect();
        if list.is_empty() {
            Ok(())
        } else {
            Err(Problems { source: "the configuration".into(), list, remarks: Vec::new() })
        }
    }
}

fn file_too_large(source: &str) -> Problems {
    let what = format!("larger than {MAX_FILE_BYTES} bytes: this is no configuration file");
    Problems { source: source.into(), list: vec![Problem { line: None, what }], remarks: Vec::new() }
}

impl<'t> Reader<'t> {
    fn new(purpose: Use, text: &'t Text, problems: Vec<Problem>) -> Self {
        let scopes = text.sections.iter().map(|section| Scope::new(section, &text.defaults)).collect();
        Self { purpose, text, scopes, budget: Budget::default(), problems, remarks: Vec::new() }
    }

    fn problem(&mut self, line: Option<usize>, what: String) {
        self.problems.push(Problem { line, what });
    }

    fn config(&mut self, variable: &dyn Fn(&str) -> Option<String>) -> Config {
        self.look_at_every_value();
        self.remark_on_what_is_unknown();

        let mut draft = Draft::default();
        for (index, key) in KEYS.iter().enumerate() {
            // Every field once, with all the names that it has.
            if KEYS[..index].iter().all(|before| before.field != key.field) {
                self.set_field(key, variable, &mut draft);
            }
        }
        if !draft.proxy_is_set && self.purpose == Use::Online {
            match Proxy::from_environment(variable) {
                Ok(proxy) => draft.config.service.proxy = proxy,
                // Without which a service on this computer is reached all the same.
                Err(_) if draft.config.service.is_on_this_computer() => {}
                Err(what) => self.problem(None, what),
            }
        }
        let console_only = self.gives("GENERAL", "console_log_level") && !self.gives("LOGGING", "file");
        let config = draft.finish(console_only);
        self.remark_on_the_machine(&config);
        config
    }

    /// What is good as it is written, and hardly what was meant.
    fn remark_on_the_machine(&mut self, config: &Config) {
        let hostname = &config.machine.hostname;
        if hostname.to_ascii_uppercase().trim_start_matches("GF-") != hostname {
            self.remark(HOSTNAME, "hostname is as in ABC-123: in capitals, without gf- before it".into());
        }
        if let Some(protocol) = config.service.protocol {
            let of_firmware = Generation::of_firmware(&config.machine.firmware);
            if protocol != of_firmware {
                let what = format!("protocol is {protocol}, and the firmware version is one of {of_firmware}");
                self.remark("service.protocol", what);
            }
        }
    }

    /// On the line that gives a field, where one does.
    fn remark(&mut self, field: &str, what: String) {
        let given = KEYS.iter().filter(|key| key.field == field).find_map(|key| self.given(key));
        if let Some(Given { line, .. }) = given {
            self.remarks.push(Remark { line, what });
        }
    }

    /// A `%` that is wrong is wrong in a key that nobody knows too, as Python has it.
    fn look_at_every_value(&mut self) {
        for (section, scope) in self.text.sections.iter().zip(&mut self.scopes) {
            for entry in &section.entries {
                if let Err(Fault { line, what }) = scope.value(entry, &mut self.budget) {
                    self.problems.push(Problem { line: Some(line), what });
                }
            }
        }
    }

    fn remark_on_what_is_unknown(&mut self) {
        for (section, scope) in self.text.sections.iter().zip(&self.scopes) {
            let name = section.name.to_uppercase();
            if KEYS.iter().all(|key| key.section != name) {
                let mut what = format!("unknown section [{}]", shown(&name));
                if let Some(near) = keys::near_section(&name) {
                    what = format!("{what}: is it [{near}]?");
                }
                self.remarks.push(Remark { line: section.line, what });
                continue;
            }
            for entry in &section.entries {
                let known = KEYS.iter().any(|key| key.section == name && key.name == entry.key);
                // Somebody's own name for a part of other values.
                if known || scope.referred.contains(entry.key.as_str()) {
                    continue;
                }
                let mut what = format!("unknown key {} in [{name}]", shown(&entry.key));
                match keys::near(&name, &entry.key) {
                    Some(near) if near.section == name => what = format!("{what}: is it {}?", near.name),
                    Some(near) => what = format!("{what}: [{}] has it", near.section),
                    None => {}
                }
                self.remarks.push(Remark { line: entry.line, what });
            }
        }
    }

    fn gives(&mut self, section: &str, name: &str) -> bool {
        KEYS.iter()
            .find(|key| key.section == section && key.name == name)
            .is_some_and(|key| self.given(key).is_some_and(|given| !given.is_empty()))
    }

    /// What the file has for `key`. `[DEFAULT]` speaks for those sections that are in the file.
    fn given(&mut self, key: &'static Key) -> Option<Given<'t>> {
        let section = self.text.position(&key.section.to_lowercase())?;
        let own = self.text.sections[section].entry(key.name);
        let entry = own.or_else(|| self.text.defaults.entry(key.name))?;
        let value = self.scopes[section].value(entry, &mut self.budget);
        Some(Given { key, line: entry.line, by_default: own.is_none(), value, entry })
    }

    /// Sets the field of `first` from the environment, or from whichever of its names the file has.
    fn set_field(&mut self, first: &'static Key, variable: &dyn Fn(&str) -> Option<String>, draft: &mut Draft) {
        let environment = VARIABLES.iter().find(|(field, _)| *field == first.field).map(|(_, name)| *name);
        if let Some(name) = environment
            && let Some(value) = variable(name).filter(|value| !value.is_empty())
        {
            if let Err(right) = (first.set)(draft, value.trim())
                && self.checks(first)
            {
                self.problem(None, format!("{name} in the environment must be {right}"));
            }
            return;
        }

        let mut given: Vec<Given> =
            KEYS.iter().filter(|key| key.field == first.field).filter_map(|key| self.given(key)).collect();
        if given.iter().any(|given| !given.by_default) {
            given.retain(|given| !given.by_default);
        }
        self.compare(&given);
        let needed = [SERIAL, HOSTNAME, PASSWORD].contains(&first.field);
        match given.first() {
            Some(given) if !(needed && given.is_empty()) => {
                // Where it has a fault, that has been said.
                if let Ok(value) = &given.value
                    && let Err(right) = (given.key.set)(draft, value)
                    && self.checks(first)
                {
                    self.problem(Some(given.line), format!("{} must be {right}", given.key.name));
                }
            }
            empty if needed && self.purpose == Use::Online => {
                let line = empty.map(|given| given.line);
                let Key { section, name, about, .. } = first;
                let or = environment.map(|name| format!(", or set {name} in the environment")).unwrap_or_default();
                self.problem(line, format!("{about} is missing: fill in {name} in [{section}]{or}"));
            }
            _ => {}
        }
    }

    /// Whether a wrong value of this key is a problem.
    fn checks(&self, key: &Key) -> bool {
        key.field != PASSWORD || self.purpose == Use::Online
    }

    /// Two names of one thing should say the same of it.
    fn compare(&mut self, given: &[Given]) {
        let Some((first, others)) = given.split_first() else { return };
        for other in others {
            let (Ok(one), Ok(two)) = (&first.value, &other.value) else { continue };
            if one == two || std::ptr::eq(first.entry, other.entry) {
                continue;
            }
            let name = |given: &Given| format!("{} in [{}]", given.key.name, given.key.section);
            if first.key.origin == Origin::V2 && other.key.origin == Origin::V2 {
                let what = format!("{} is not used: {} on line {} wins", name(other), name(first), first.line);
                self.remarks.push(Remark { line: other.line, what });
            } else {
                // On the later of the two lines, which is where the reader's eye has both.
                let (early, late) = if first.line < other.line { (first, other) } else { (other, first) };
                let what =
                    format!("{} is another value than {} on line {}: keep one", name(late), name(early), early.line);
                self.problem(Some(late.line), what);
            }
        }
    }
}
