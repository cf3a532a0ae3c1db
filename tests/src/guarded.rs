//! A foreign server program that never outlives its test, not even when the test is killed.
//!
//! A shell starts the program in its own place and leaves a watcher behind that holds the other end of a pipe from us.
//! When the pipe closes, because we let go of it or because we are dead, the watcher ends the program.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// `$1` signal, `$2` directory to remove afterwards (may be empty), then the program and its arguments.
const WATCHER: &str = r#"
signal=$1 remove=$2; shift 2
exec 3<&0 </dev/null
pid=$$
( {
    cat <&3
    kill -"$signal" $pid
    [ -n "$remove" ] || exit
    looks=0
    while kill -0 $pid && [ $looks -lt 100 ]; do sleep 0.1; looks=$((looks + 1)); done
    rm -rf -- "$remove"
} >/dev/null 2>&1 & )
exec "$@" 3<&-
"#;

/// Starting takes well under a second; this is a guard against hanging for ever.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// How a program is started and ended.
pub(crate) struct Guarded<'a> {
    pub(crate) program: &'a Path,
    pub(crate) arguments: Vec<&'a OsStr>,
    /// The signal that ends it.
    pub(crate) signal: &'static str,
    /// User and group to run as, if not ours.
    pub(crate) identity: Option<(u32, u32)>,
    /// A directory that goes away with the program.
    pub(crate) remove: Option<&'a Path>,
}

/// The program while it runs. Dropping it ends it.
pub(crate) struct Running {
    child: Child,
    lifeline: Option<ChildStdin>,
}

impl Guarded<'_> {
    /// Starts the program and waits until it writes a line with `ready` in it to standard error.
    pub(crate) fn start(self, ready: &str) -> Result<Running, String> {
        let mut running = self.spawn(Stdio::piped())?;
        let lines = lines_of(running.child.stderr.take().ok_or("no standard error")?);
        await_line(&lines, ready).map(|()| running)
    }

    /// Starts the program, and waits for nothing.
    pub(crate) fn spawn(self, stderr: Stdio) -> Result<Running, String> {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(WATCHER).arg("sh").arg(self.signal).arg(self.remove.unwrap_or(Path::new("")));
        command.arg(self.program).args(&self.arguments).process_group(0);
        if let Some((user, group)) = self.identity {
            command.uid(user).gid(group).current_dir("/");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(stderr);
        let mut child = command.spawn().map_err(|error| format!("/bin/sh cannot be started: {error}"))?;
        let lifeline = child.stdin.take();
        Ok(Running { child, lifeline })
    }
}

/// Reads to the end, whether anyone listens or not: a full pipe would stop the program.
fn lines_of(stderr: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            send.send(String::from_utf8_lossy(&line).into_owned()).unwrap_or_default();
        }
    });
    receive
}

fn await_line(lines: &Receiver<String>, ready: &str) -> Result<(), String> {
    let mut said = Vec::new();
    loop {
        match lines.recv_timeout(READY_WITHIN) {
            Ok(line) if line.contains(ready) => return Ok(()),
            Ok(line) => said.push(line),
            Err(_) => return Err(format!("it never said {ready:?}, but:\n{}", said.join("\n"))),
        }
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        self.child.wait().map_or_else(|error| eprintln!("a server program was not awaited: {error}"), drop);
    }
}

/// The program's path, from `PATH` or one of `directories`.
pub(crate) fn find(name: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = directories.iter().cloned().chain(std::env::split_paths(&path));
    all.map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Runs a tool to its end and returns what it printed.
pub(crate) fn output_of(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
