//! systemd as the first process of namespaces of its own, which sees the program, the units and an empty
//! `/etc`, `/run` and `/var/lib`, and nothing of the machine's services.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::support::PATIENCE;
use crate::support::program::ends_within;

const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// The units and the user that they name; `$1` is a folder with the program and what goes into `/etc`.
const BOOT: &str = r#"
set -e
mount --make-rprivate /
cp -a /etc/ld.so.cache /etc/nsswitch.conf "$1/etc/"
for folder in /run /var/lib /usr/local/bin; do mount -t tmpfs -o mode=0755 tmpfs $folder; done
cp "$1/tidings" /usr/local/bin/tidings
mount --bind "$1/etc" /etc
chown -R tidings:tidings /etc/tidings
chmod -R go= /etc/tidings
if [ -d /sys/fs/cgroup/systemd ]; then
    mount -t tmpfs tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
else
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
exec env -i PATH=/usr/local/bin:/usr/bin:/bin container=tests SYSTEMD_UNIT_PATH=/etc/systemd/system \
    /usr/lib/systemd/systemd --system --unit=tests.target --show-status=0 --log-target=console
"#;

pub struct Booted {
    child: Child,
    first: Pid,
    group: PathBuf,
    pub folder: TempDir,
}

impl Booted {
    /// Boots it with these files in its `/etc`; an error says what the machine doesn't let us do.
    pub fn boot(files: &[(&str, String)]) -> Result<Self, String> {
        if !geteuid().is_root() || !Path::new(SYSTEMD).exists() {
            return Err(format!("that takes root and {SYSTEMD}"));
        }
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join("etc").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let etc = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path().join("etc"), etc).unwrap();
        let program = folder.path().join("tidings");
        fs::copy(env!("CARGO_BIN_EXE_tidings"), program).unwrap();
        let group = own_group().map_err(|error| format!("no control group: {error}"))?;
        let enter = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", group.display());
        let unshare = "unshare --pid --fork --mount --mount-proc --cgroup --uts --ipc --kill-child";
        let output = fs::File::create(folder.path().join("output")).unwrap();
        let child = Command::new("sh")
            .args(["-c", &enter, "sh"])
            .args(unshare.split(' '))
            .args(["sh", "-c", BOOT, "sh"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .map_err(|error| error.to_string())?;
        let first = Pid::from_child(&child);
        let mut booted = Self {
            child,
            first,
            group,
            folder,
        };
        booted.until_it_is_up()?;
        Ok(booted)
    }

    fn until_it_is_up(&mut self) -> Result<(), String> {
        let late = Instant::now() + PATIENCE;
        while Instant::now() < late {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Err(format!("it ended with {status}: {}", self.log()));
            }
            let outer = Pid::from_child(&self.child).as_raw_nonzero();
            let inner = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"));
            let inner = inner.ok().and_then(|text| text.trim().parse().ok());
            if let Some(first) = inner.and_then(Pid::from_raw) {
                self.first = first;
                if self.ctl(&["is-active", "tests.target"]).status.success() {
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("it isn't up: {}", self.log()))
    }

    /// A command inside.
    pub fn inside(&self, program: &str) -> Command {
        let first = self.first.as_raw_nonzero().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &first, "--mount", "--pid", "--cgroup", program]);
        command
    }

    pub fn ctl(&self, arguments: &[&str]) -> Output {
        self.inside("systemctl").args(arguments).output().unwrap()
    }

    #[track_caller]
    pub fn does(&self, arguments: &[&str]) {
        let output = self.ctl(arguments);
        let err = String::from_utf8_lossy(&output.stderr);
        let log = self.log();
        assert!(output.status.success(), "{arguments:?}: {err}\n{log}");
    }

    /// A property of a unit.
    #[track_caller]
    pub fn property(&self, unit: &str, name: &str) -> String {
        let output = self.ctl(&["show", "--value", "--property", name, unit]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// What systemd and the services said.
    pub fn log(&self) -> String {
        ["output", "etc/log"]
            .map(|name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // The first process takes all others of its namespace with it.
        _ = kill_process(self.first, Signal::KILL);
        _ = self.child.kill();
        _ = self.child.wait();
        ends_within(self.first, PATIENCE);
        let mut clean = Command::new("find");
        clean.arg(&self.group);
        _ = clean
            .args(["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"])
            .status();
    }
}

/// A new control group, which the namespace has for its root.
fn own_group() -> std::io::Result<PathBuf> {
    let old = Path::new("/sys/fs/cgroup/systemd");
    let root = match old.exists() {
        true => old,
        false => Path::new("/sys/fs/cgroup"),
    };
    let group = root.join(format!("tidings-tests-{}", std::process::id()));
    fs::create_dir(&group)?;
    Ok(group)
}
