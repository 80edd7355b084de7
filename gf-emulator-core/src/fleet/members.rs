//! [`Members`]: the machines of a fleet, from a template and a number or a table.

use std::collections::HashMap;

use super::slice::Slice;
use crate::Secret;
use crate::config::{Config, MachineIdentity, Problem, Problems, Template, Warning};

/// The columns of a table.
const COLUMNS: [&str; 3] = ["serial", "hostname", "password"];
/// How many problems of a table are told.
const MOST_PROBLEMS: usize = 20;

/// The configurations of a fleet's machines, or of a [`Slice`] of them.
///
/// Each machine keeps its jobs and copies of sent pictures in a folder of its own, named by its serial number, in the
/// configured ones. None of them records its session.
#[derive(Debug, Clone)]
pub struct Members {
    pub(super) configs: Vec<Config>,
    warnings: Vec<Warning>,
}

impl Members {
    /// The most machines of a fleet, in all its slices together.
    pub const MOST: u32 = 100_000;

    /// Makes `count` machines, whose serial numbers count up from the template's.
    ///
    /// # Errors
    ///
    /// All problems of the template with the first serial number that has any; a problem if `count` is more than
    /// [`MOST`](Self::MOST), or if the serial numbers would exceed 32 bits.
    pub fn counted(template: &Template, count: usize, slice: Slice) -> Result<Self, Problems> {
        if count > Self::MOST as usize {
            return Err(Problems::one(template.source_name(), None, too_many()));
        }
        let first = template.serial()?;
        let last = u32::try_from(count.saturating_sub(1)).ok().and_then(|more| first.checked_add(more));
        if last.is_none() {
            let what = format!("{count} serial numbers from {first} on would exceed {}: take a lower serial", u32::MAX);
            return Err(Problems::one(template.source_name(), None, what));
        }
        let serial = |position: usize| first.saturating_add(u32::try_from(position).unwrap_or(u32::MAX));
        let identities = slice.range(count).map(|position| MachineIdentity::new(serial(position)));
        Self::of(template, identities.map(|identity| (identity, String::new())))
    }

    /// Makes a machine of each line of a table: comma-separated values without quotes. The first line names the columns:
    /// `serial`, and if wanted `hostname` and `password`, in any order. An empty value is that of the template.
    ///
    /// `source_name` is used in messages.
    ///
    /// # Errors
    ///
    /// The first 20 problems of the table, also of lines outside the slice, or of more than [`MOST`](Self::MOST) lines; or
    /// all problems of the template with the first line that has any.
    pub fn from_csv(template: &Template, source_name: &str, text: &str, slice: Slice) -> Result<Self, Problems> {
        let rows =
            read_csv(text).map_err(|list| Problems { source: source_name.into(), list, warnings: Vec::new() })?;
        let range = slice.range(rows.len());
        let rows = rows.into_iter().skip(range.start).take(range.len());
        Self::of(template, rows.map(|(line, identity)| (identity, format!(" ({source_name} line {line})"))))
    }

    /// Makes the machines. Each identity has where it is from, for messages.
    fn of(template: &Template, identities: impl Iterator<Item = (MachineIdentity, String)>) -> Result<Self, Problems> {
        let (mut configs, mut first_warnings) = (Vec::new(), None);
        for (identity, origin) in identities {
            let (mut config, warnings) = template.machine(&identity).map_err(|mut problems| {
                for Problem { what, .. } in &mut problems.list {
                    *what = format!("machine {}{origin}: {what}", identity.serial);
                }
                problems
            })?;
            let own_folder = identity.serial.to_string();
            config.motion.dir.push(&own_folder);
            if let Some(folder) = &mut config.logging.sent_images_dir {
                folder.push(&own_folder);
            }
            config.logging.record_dir = None;
            configs.push(config);
            first_warnings.get_or_insert(warnings);
        }
        Ok(Self { configs, warnings: first_warnings.unwrap_or_default() })
    }

    /// Returns the configurations.
    #[must_use]
    pub fn configs(&self) -> &[Config] {
        &self.configs
    }

    /// Returns the warnings about the template.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

fn too_many() -> String {
    format!("more than {} machines", Members::MOST)
}

/// Reads a table. Returns each machine with its line, or the first problems if there are any. No message has a value: it may
/// be a password.
fn read_csv(text: &str) -> Result<Vec<(usize, MachineIdentity)>, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let problem = |line: usize, what: String| Problem { line: Some(line), what };
    let header_problem = |line| problem(line, format!("the first line must name the columns: {}", COLUMNS.join(",")));
    let Some((header_line, header)) = lines.next() else { return Err(vec![header_problem(1)]) };
    let names: Vec<_> = header.split(',').map(str::trim).collect();
    let positions = COLUMNS.map(|name| names.iter().position(|have| *have == name));
    // Each name is a column, and none is there twice.
    if positions[0].is_none() || positions.iter().flatten().count() != names.len() {
        return Err(vec![header_problem(header_line)]);
    }
    let (mut rows, mut problems, mut lines_by_serial) = (Vec::new(), Vec::new(), HashMap::new());
    for (number, line) in lines {
        if problems.len() >= MOST_PROBLEMS {
            problems.push(problem(
                number,
                "this line and those after it were not read: there are too many problems".into(),
            ));
            break;
        }
        if rows.len() >= Members::MOST as usize {
            problems.push(problem(number, too_many()));
            break;
        }
        match read_row(line, names.len(), positions) {
            Ok(identity) => {
                if let Some(first) = lines_by_serial.insert(identity.serial, number) {
                    problems.push(problem(number, format!("the same serial number as on line {first}")));
                }
                rows.push((number, identity));
            }
            Err(what) => problems.push(problem(number, what)),
        }
    }
    if problems.is_empty() { Ok(rows) } else { Err(problems) }
}

/// Reads a line of a table with this many columns; `positions` are those of `COLUMNS`. The error says what is wrong with it.
fn read_row(line: &str, columns: usize, positions: [Option<usize>; 3]) -> Result<MachineIdentity, String> {
    let values: Vec<_> = line.split(',').map(str::trim).collect();
    if line.contains('"') {
        return Err("a quotation mark: values are written without them".into());
    }
    if values.len() != columns {
        return Err(format!("{} values in {columns} columns", values.len()));
    }
    let [serial, hostname, password] =
        positions.map(|position| position.map(|at| values[at]).filter(|value| !value.is_empty()));
    let serial = serial.and_then(|serial| serial.parse().ok()).filter(|&serial| serial > 0);
    let serial = serial.ok_or_else(|| format!("serial must be a number from 1 to {}", u32::MAX))?;
    let (hostname, password) = (hostname.map(str::to_owned), password.map(Secret::new));
    Ok(MachineIdentity { hostname, password, ..MachineIdentity::new(serial) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "00112233445566778899aabbccddeeff00112233445566778899aabb";

    fn template() -> Template {
        let machine = format!("[MACHINE]\nserial: 10000001\nhostname: M-%(serial)s\npassword: {START}%(serial)s\n");
        Template::new("t.cfg", &format!("[GENERAL]\nmotion_dir: jobs\n[LOGGING]\nrecord: r\n{machine}"))
    }

    fn serials(members: &Members) -> Vec<u32> {
        members.configs().iter().map(|config| config.machine.serial).collect()
    }

    #[test]
    fn serial_numbers_count_up_and_slices_have_their_part() {
        let members = |slice| Members::counted(&template(), 10, slice).unwrap();
        assert_eq!(serials(&members(Slice::WHOLE)), (10_000_001..=10_000_010).collect::<Vec<_>>());
        let last = members(Slice::new(2, 3).unwrap());
        assert_eq!(serials(&last), [10_000_007, 10_000_008, 10_000_009, 10_000_010]);
        let config = &last.configs()[0];
        assert_eq!(config.machine.hostname, "M-10000007");
        assert_eq!(config.machine.password.reveal(), format!("{START}10000007"));
        assert_eq!(config.motion.dir, std::path::Path::new("jobs/10000007"));
        assert_eq!(config.logging.record_dir, None);
        assert!(Members::counted(&template(), 0, Slice::WHOLE).unwrap().configs().is_empty());
    }

    #[test]
    fn serial_numbers_end_at_32_bits() {
        let template =
            Template::new("t.cfg", &format!("[MACHINE]\nserial: 4294967290\nhostname: A\npassword: {START}aabbccdd"));
        assert_eq!(serials(&Members::counted(&template, 6, Slice::WHOLE).unwrap()).len(), 6);
        let problems = Members::counted(&template, 7, Slice::WHOLE).unwrap_err().to_string();
        assert!(problems.contains("would exceed 4294967295"), "{problems}");
    }

    #[test]
    fn a_table_has_a_machine_in_each_line() {
        let password = "ab".repeat(32);
        let text = format!("\u{feff}password, serial ,hostname\r\n{password},7,ABC-123\r\n\r\n,10000008,\n");
        let members = Members::from_csv(&template(), "m.csv", &text, Slice::WHOLE).unwrap();
        let [first, second] = members.configs() else { panic!("two machines") };
        assert_eq!((first.machine.serial, &*first.machine.hostname), (7, "ABC-123"));
        assert_eq!(first.machine.password.reveal(), password);
        assert_eq!((second.machine.serial, &*second.machine.hostname), (10_000_008, "M-10000008"));
        let part = Members::from_csv(&template(), "m.csv", &text, Slice::new(1, 2).unwrap()).unwrap();
        assert_eq!(serials(&part), [10_000_008]);
    }

    #[test]
    fn a_problem_names_the_machine_and_its_line_and_no_password() {
        let text = "serial,password\n7,\n\n8,hunter2hunter2\n";
        let template = Template::new("t.cfg", &format!("[MACHINE]\nhostname: A\npassword: {}\n", "ab".repeat(32)));
        let problems = Members::from_csv(&template, "m.csv", text, Slice::WHOLE).unwrap_err().to_string();
        assert!(problems.starts_with("t.cfg:3: machine 8 (m.csv line 4): password must be"), "{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
        let template =
            Template::new("t.cfg", &format!("[MACHINE]\nserial: 99999999\nhostname: A\npassword: {START}%(serial)s"));
        let problems = Members::counted(&template, 2, Slice::WHOLE).unwrap_err().to_string();
        assert!(problems.starts_with("t.cfg:4: machine 100000000: password must be"), "{problems}");
    }

    #[test]
    fn reading_stops_after_many_problems_or_machines() {
        let problems = |text: &str| Members::from_csv(&template(), "m.csv", text, Slice::WHOLE).unwrap_err();
        let list = problems(&format!("serial\n{}", "x\n".repeat(1000))).list;
        assert_eq!(list.len(), MOST_PROBLEMS + 1);
        assert!(list[MOST_PROBLEMS].what.contains("were not read"), "{list:?}");
        let most = Members::MOST as usize;
        let numbers: Vec<_> = (1..=most + 2).map(|number| number.to_string()).collect();
        assert!(read_csv(&format!("serial\n{}", numbers[..most].join("\n"))).is_ok());
        let text = format!("serial\n{}", numbers.join("\n"));
        assert_eq!(problems(&text).to_string(), "m.csv:100002: more than 100000 machines");
        let counted = Members::counted(&template(), most + 1, Slice::WHOLE).unwrap_err().to_string();
        assert_eq!(counted, "t.cfg: more than 100000 machines");
    }

    #[test]
    fn a_wrong_table_is_answered_with_all_lines() {
        let problems =
            |text: &str| Members::from_csv(&template(), "m.csv", text, Slice::WHOLE).unwrap_err().to_string();
        for header in ["", "\n\n", "hostname\n", "serial,colour\n", "serial,serial\n", "1,2,3\n"] {
            assert!(problems(header).contains("the first line must name the columns"), "{header:?}");
        }
        assert_eq!(
            problems("serial,hostname\n7,a\n8\n\"9\",x\n0,x\n7,b\nhunter2,x\n"),
            "m.csv:3: 1 values in 2 columns\n\
             m.csv:4: a quotation mark: values are written without them\n\
             m.csv:5: serial must be a number from 1 to 4294967295\n\
             m.csv:6: the same serial number as on line 2\n\
             m.csv:7: serial must be a number from 1 to 4294967295"
        );
    }
}
