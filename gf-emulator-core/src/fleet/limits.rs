//! [`Limits`]: how many files, threads and memory maps the computer allows this process, and what a fleet needs.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Open files of a machine: the WebSocket, a connection for requests and an attempt to reconnect, each a socket with a poller
/// of three files, and two for a job. Measured: 9 after a storm.
const FILES: u64 = 14;
/// Threads of a machine while it reconnects: that of its emulator, two workers, the WebSocket and the attempt to connect.
const THREADS: u64 = 5;
/// Memory maps of a thread: its stack and the page that guards it. The allocator has some more.
const MAPS_PER_THREAD: u64 = 3;
/// What the process needs besides.
const SPARE_FILES: u64 = 64;
const SPARE_THREADS: u64 = 64;
const SPARE_MAPS: u64 = 1000;

/// How many files, threads and memory maps this process may have. `None` is unlimited or unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Open files (`RLIMIT_NOFILE`, the soft limit).
    pub files: Option<u64>,
    /// Threads of the user (`RLIMIT_NPROC`, the soft limit). Not checked for root, which it does not concern.
    pub user_threads: Option<u64>,
    /// Threads of the control group, without those that it has (`pids.max`), and the group's file with the limit.
    pub group_threads: Option<(u64, PathBuf)>,
    /// Threads of the whole system (`kernel.threads-max` and `kernel.pid_max`, the lower of them).
    pub system_threads: Option<u64>,
    /// Memory maps of the process (`vm.max_map_count`).
    pub maps: Option<u64>,
}

/// A limit that is too low for a fleet. [`Display`](fmt::Display) says how it can be raised.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitReached {
    /// The fleet's machines.
    pub machines: u64,
    /// How many of `what` these machines need.
    pub needed: u64,
    /// What they need, such as `open files`.
    pub what: &'static str,
    /// The limit.
    pub limit: u64,
    /// How many machines fit.
    pub fitting: u64,
    /// The command that raises the limit.
    pub remedy: String,
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machines, needed, what, limit, fitting, remedy } = self;
        write!(
            f,
            "{machines} machines need {needed} {what}, and the limit is {limit}: {remedy}, or start at most {fitting}"
        )
    }
}

impl Limits {
    /// Reads the limits of this process.
    #[must_use]
    pub fn now() -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
        let system = [number("/proc/sys/kernel/threads-max"), number("/proc/sys/kernel/pid_max")];
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self {
            files: file_limit(),
            user_threads: user_thread_limit(),
            group_threads: group_limit(&groups, Path::new("/sys/fs/cgroup")),
            system_threads: system.into_iter().flatten().min(),
            maps: number("/proc/sys/vm/max_map_count"),
        }
    }

    /// Returns the limits that are too low for this many machines.
    #[must_use]
    pub fn reached_by(&self, machines: u64) -> Vec<LimitReached> {
        let threads = (THREADS, SPARE_THREADS, "threads");
        let group = self.group_threads.as_ref();
        let group_remedy = |needed| {
            let file = group.map(|(_, file)| file.display().to_string()).unwrap_or_default();
            format!("as root, add {needed} to the number in {file}")
        };
        let checks: [(_, _, &dyn Fn(u64) -> String); 5] = [
            (self.files, (FILES, SPARE_FILES, "open files"), &|needed| {
                format!("run \"ulimit -n {needed}\" first (as root if it is refused)")
            }),
            (self.user_threads, threads, &|needed| {
                format!("run \"ulimit -u {needed}\" first (as root if it is refused)")
            }),
            (group.map(|(limit, _)| *limit), threads, &group_remedy),
            (self.system_threads, threads, &|needed| {
                format!("as root, run \"sysctl kernel.threads-max={0} kernel.pid_max={0}\"", 2 * needed)
            }),
            (self.maps, (THREADS * MAPS_PER_THREAD, SPARE_MAPS, "memory maps"), &|needed| {
                format!("as root, run \"sysctl vm.max_map_count={needed}\"")
            }),
        ];
        let reached = checks.into_iter().filter_map(|(limit, (each, spare, what), remedy)| {
            let (limit, needed) = (limit?, machines.saturating_mul(each).saturating_add(spare));
            let fitting = limit.saturating_sub(spare) / each;
            (needed > limit).then(|| LimitReached { machines, needed, what, limit, fitting, remedy: remedy(needed) })
        });
        reached.collect()
    }
}

/// Raises the limit of open files to what this many machines need, as far as the system allows it without other rights.
pub fn raise_file_limit(machines: u64) {
    let needed = machines.saturating_mul(FILES).saturating_add(SPARE_FILES);
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current.is_some_and(|current| current < needed) {
            let raised = maximum.map_or(needed, |maximum| maximum.min(needed));
            // Fails if the system has a lower limit: the check that follows tells.
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum });
        }
    }
    #[cfg(not(unix))]
    let _ = needed;
}

#[cfg(unix)]
fn file_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn file_limit() -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn user_thread_limit() -> Option<u64> {
    if rustix::process::geteuid().is_root() {
        return None;
    }
    rustix::process::getrlimit(rustix::process::Resource::Nproc).current
}

#[cfg(not(target_os = "linux"))]
fn user_thread_limit() -> Option<u64> {
    None
}

/// Returns how many more threads the control groups allow, and the file with the lowest limit. `groups` is the content of
/// `/proc/self/cgroup`, `root` the folder of all groups.
fn group_limit(groups: &str, root: &Path) -> Option<(u64, PathBuf)> {
    // Version 2 has one line, "0::/path"; of version 1, the line of the controller counts.
    let folder = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        match (parts.next()?, parts.next()?) {
            ("", path) => Some(root.join(path.trim_start_matches('/'))),
            ("pids", path) => Some(root.join("pids").join(path.trim_start_matches('/'))),
            _ => None,
        }
    })?;
    // Each group above has a limit, too. In a container the path may be that of the host, and only the root is there.
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let left = folder.ancestors().take_while(|folder| folder.starts_with(root)).filter_map(|folder| {
        let file = folder.join("pids.max");
        let used = number(&folder.join("pids.current")).unwrap_or(0);
        Some((number(&file)?.saturating_sub(used), file))
    });
    left.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_too_low_is_told_with_the_command_that_raises_it() {
        let limits = Limits { files: Some(1024), maps: Some(65_530), ..Limits::default() };
        let [files] = &limits.reached_by(100)[..] else { panic!("one limit") };
        assert_eq!(
            files.to_string(),
            "100 machines need 1464 open files, and the limit is 1024: run \"ulimit -n 1464\" first (as root if it is \
             refused), or start at most 68"
        );
        assert!(limits.reached_by(68).is_empty());
        assert_eq!(limits.reached_by(69).len(), 1);
        assert_eq!(limits.reached_by(u64::MAX).len(), 2);
        assert!(Limits::default().reached_by(u64::MAX).is_empty());
    }

    #[test]
    fn each_limit_has_its_remedy() {
        let low = Some(10);
        let group = Some((10, PathBuf::from("/sys/fs/cgroup/pids.max")));
        let limits = Limits { files: low, user_threads: low, group_threads: group, system_threads: low, maps: low };
        let texts: Vec<_> = limits.reached_by(1).iter().map(ToString::to_string).collect();
        let remedies = ["ulimit -n", "ulimit -u", "/sys/fs/cgroup/pids.max", "kernel.pid_max", "vm.max_map_count"];
        assert_eq!(texts.len(), remedies.len());
        for (text, remedy) in texts.iter().zip(remedies) {
            assert!(text.contains(remedy) && text.ends_with("or start at most 0"), "{text}");
        }
    }

    #[test]
    fn the_lowest_limit_of_the_control_groups_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("a/b");
        fs::create_dir_all(&group).unwrap();
        let limit = |groups: &str| group_limit(groups, root.path());
        assert_eq!(limit("0::/a/b\n"), None, "there is no file");
        fs::write(group.join("pids.max"), "max\n").unwrap();
        fs::write(root.path().join("a/pids.max"), "500\n").unwrap();
        fs::write(root.path().join("a/pids.current"), "100\n").unwrap();
        fs::write(root.path().join("pids.max"), "450\n").unwrap();
        assert_eq!(limit("0::/a/b\n"), Some((400, root.path().join("a/pids.max"))));
        assert_eq!(limit("0::/elsewhere\n"), Some((450, root.path().join("pids.max"))));
        fs::create_dir_all(root.path().join("pids/x")).unwrap();
        fs::write(root.path().join("pids/x/pids.max"), "7\n").unwrap();
        assert_eq!(limit("12:cpu:/y\n5:pids:/x\n0::/\n"), Some((7, root.path().join("pids/x/pids.max"))));
        assert_eq!(limit(""), None);
    }
}
