//! A place to try the step protocol in: a state directory of its own, and the shells of this machine.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use settled::clock::{Clock, SystemClock};
use settled::domain::id::{InstallationId, RunId, ServerId};
use settled::domain::step::{Cause, Ended, StepId};
use settled::remote::exec::{Exec, ExecOutput};
use settled::remote::step::{Layout, Steps};
use settled::remote::{Dpkg, Limits, Login, News, Remote, RemoteError, Report, StepSpec, StepStatus, Target};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Guards a test against hanging; never a wait that decides anything.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Runs the verbs in a shell of this machine.
pub(crate) struct LocalExec {
    shell: PathBuf,
    home: PathBuf,
}

#[async_trait]
impl Exec for LocalExec {
    async fn exec(
        &self,
        _target: &Target,
        stdin: &[u8],
        stdout_bytes_max: usize,
        deadline: Duration,
    ) -> Result<ExecOutput, RemoteError> {
        let work = async {
            let mut child = Command::new(&self.shell)
                .arg("-s")
                .env("HOME", &self.home)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .expect("the shell starts");
            let mut input = child.stdin.take().expect("piped");
            let (mut out, mut err) =
                (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let feed = async {
                // A shell that ends early does not read everything.
                input.write_all(stdin).await.ok();
                drop(input);
            };
            let ((), out, err) =
                tokio::join!(feed, out.read_to_end(&mut stdout), err.read_to_end(&mut stderr));
            out.expect("stdout");
            err.expect("stderr");
            let status = child.wait().await.expect("the shell ends").code();
            if !stderr.is_empty() {
                eprintln!("the shell says: {}", String::from_utf8_lossy(&stderr));
            }
            stdout.truncate(stdout_bytes_max);
            ExecOutput { stdout, stderr, status: status.and_then(|code| u32::try_from(code).ok()) }
        };
        let late = || RemoteError::Unreachable("no answer in time".to_owned());
        tokio::time::timeout(deadline, work).await.map_err(|_| late())
    }

    async fn forget(&self, _server: ServerId) {}
}

/// A server to be: its state directory lives as long as this.
pub(crate) struct Bench {
    pub(crate) steps: Steps<LocalExec>,
    pub(crate) target: Target,
    pub(crate) installation: InstallationId,
    pub(crate) dir: TempDir,
    layout: Layout,
    run: RunId,
    last: AtomicU32,
}

impl Bench {
    /// With the machine's `/bin/sh`.
    pub(crate) async fn new() -> Self {
        Self::with_shell(Path::new("/bin/sh")).await
    }

    /// With `program` playing `/bin/sh`, for the verbs and for the steps.
    pub(crate) async fn with_shell(program: &Path) -> Self {
        let bench = Self::unclaimed(program);
        bench.claim().await;
        bench
    }

    /// Before the first contact.
    pub(crate) fn unclaimed(program: &Path) -> Self {
        Self::laid_out(program, |_| {})
    }

    /// Before the first contact, with some things elsewhere.
    pub(crate) fn laid_out(program: &Path, change: impl FnOnce(&mut Layout)) -> Self {
        let dir = TempDir::with_prefix("settled-steps-").expect("a directory");
        // One for the steps, one for the verbs: a test may swap either.
        let (shell, speaker) = (dir.path().join("sh"), dir.path().join("speaker/sh"));
        std::fs::create_dir(dir.path().join("speaker")).expect("made");
        std::os::unix::fs::symlink(program, &shell).expect("a link");
        std::os::unix::fs::symlink(program, &speaker).expect("a link");
        let mut layout = Layout {
            state_dir: Some(dir.path().join("state").display().to_string()),
            shell: shell.display().to_string(),
            dpkg_locks: vec![dir.path().join("dpkg-lock").display().to_string()],
            ..Layout::default()
        };
        change(&mut layout);
        let clock = Arc::new(SystemClock::new());
        let (installation, run) = (InstallationId(clock.ulid()), RunId(clock.ulid()));
        let server = ServerId(clock.ulid());
        let exec = LocalExec { shell: speaker, home: dir.path().to_owned() };
        let target = Target {
            server,
            host: "local".to_owned(),
            port: 22,
            user: "root".to_owned(),
            host_key: String::new(),
            login: Login::Agent,
            name: "web1".to_owned(),
            via: None,
        };
        let steps = Steps::with_layout(exec, clock, layout.clone());
        Self { steps, target, installation, dir, layout, run, last: AtomicU32::new(0) }
    }

    /// A server elsewhere, with everything at its usual place. `command` runs its stdin there.
    pub(crate) fn reached_by(command: &str) -> Self {
        let mut bench = Self::unclaimed(Path::new("/bin/sh"));
        let shell = bench.path("there");
        std::fs::write(&shell, format!("#!/bin/sh\nexec {command}\n")).expect("written");
        std::fs::set_permissions(&shell, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("executable");
        bench.layout = Layout::default();
        bench.steps = bench.through(&shell);
        bench
    }

    /// Puts a script in place of a shell: once `condition` holds, strace follows it with these options, for one time, and writes `trace`.
    pub(crate) fn ambush(&self, shell: &str, condition: &str, options: &str) {
        let path = self.path(shell);
        std::fs::remove_file(&path).expect("removed");
        let dir = self.dir.path().display();
        let text = format!(
            "#!/bin/sh\nif {condition} && mkdir {dir}/ambushed 2>/dev/null; then\n\
             exec strace -D -o {dir}/trace {options} /bin/sh \"$@\"\n\
             fi\nexec /bin/sh \"$@\"\n"
        );
        std::fs::write(&path, text).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("executable");
    }

    /// Takes the server with epoch 1.
    pub(crate) async fn claim(&self) {
        self.steps.claim(&self.target, self.installation, 1).await.expect("claimed");
    }

    /// The same server through another program in place of the shell.
    pub(crate) fn through(&self, shell: &Path) -> Steps<LocalExec> {
        let exec = LocalExec { shell: shell.to_owned(), home: self.dir.path().to_owned() };
        Steps::with_layout(exec, Arc::new(SystemClock::new()), self.layout.clone())
    }

    /// The shell that plays the server, bare.
    pub(crate) fn local(&self) -> LocalExec {
        LocalExec { shell: self.path("speaker/sh"), home: self.dir.path().to_owned() }
    }

    /// A try that has not been sent yet.
    pub(crate) fn spec(&self, script: &str) -> StepSpec {
        let try_no = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        StepSpec {
            id: StepId { run: self.run, step: 0, attempt: 1, try_no },
            epoch: 1,
            script: script.to_owned(),
            env: Vec::new(),
            secrets: Vec::new(),
            dpkg: Dpkg::Unused,
            limits: Limits {
                timeout: Duration::from_secs(30),
                grace: Duration::from_secs(2),
                output_bytes_max: 1024 * 1024,
            },
        }
    }

    pub(crate) async fn start(&self, spec: &StepSpec) -> Report {
        guarded(self.steps.start(&self.target, spec)).await.expect("an answer")
    }

    pub(crate) async fn attach(&self, id: StepId, offset: u64, wait: Duration) -> News {
        guarded(self.steps.attach(&self.target, id, offset, wait)).await.expect("an answer")
    }

    pub(crate) async fn cancel(&self, id: StepId) -> Report {
        guarded(self.steps.cancel(&self.target, id, 1)).await.expect("an answer")
    }

    /// Follows a try to its end: the end, and all its output.
    pub(crate) async fn follow(&self, id: StepId) -> (Ended, News) {
        guarded(async {
            let mut output = Vec::new();
            loop {
                let mut news = self.attach(id, output.len() as u64, Duration::from_secs(5)).await;
                output.append(&mut news.output);
                match &news.report.status {
                    StepStatus::Ended(ended) => {
                        assert_eq!(
                            news.report.output_bytes,
                            output.len() as u64,
                            "the end comes with the last byte"
                        );
                        news.output = output;
                        return (ended.clone(), news);
                    }
                    StepStatus::Running | StepStatus::Orphaned => {}
                    other => panic!("{other:?} is not the way to an end"),
                }
            }
        })
        .await
    }

    /// Starts a script and follows it to its end.
    pub(crate) async fn run(&self, spec: &StepSpec) -> (Ended, News) {
        self.start(spec).await;
        self.follow(spec.id).await
    }

    /// A file that a payload can write beside the state.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory of a try.
    pub(crate) fn step_dir(&self, id: StepId) -> PathBuf {
        self.dir.path().join("state/steps").join(id.to_string())
    }

    /// Leaves a try as a machine does that dies between acceptance and launch: its verbs cannot start anything.
    pub(crate) async fn leave_accepted(&self, spec: &StepSpec) {
        let shell = self.path("sh");
        let program = std::fs::read_link(&shell).expect("a link");
        let swap = |to: &Path| {
            std::fs::remove_file(&shell).expect("removed");
            std::os::unix::fs::symlink(to, &shell).expect("a link");
        };
        swap(Path::new("/bin/true"));
        assert_eq!(self.start(spec).await.status, StepStatus::Accepted);
        swap(&program);
    }

    /// Runs a supervisor for the try to its end.
    pub(crate) async fn supervise(&self, id: StepId) {
        let dir = self.step_dir(id);
        let mut supervisor = Command::new(&self.layout.shell);
        supervisor.arg(dir.join("run")).args(["sup", &self.layout.shell]);
        let status = guarded(supervisor.status()).await.expect("it starts");
        assert!(status.success());
    }

    /// Live processes that have the try's mark in their environment.
    pub(crate) fn processes_of(id: StepId) -> Vec<i32> {
        let mark = format!("SETTLED_STEP={id}");
        let marked = |pid: &i32| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
        };
        processes().filter(|pid| alive(*pid)).filter(marked).collect()
    }

    /// Live processes of a process group.
    pub(crate) fn processes_in_group(group: i32) -> Vec<i32> {
        let in_group = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(2))
                == Some(group.to_string().as_str())
        };
        processes().filter(|pid| alive(*pid)).filter(in_group).collect()
    }

    /// A pid that the protocol has noted in the try's directory.
    pub(crate) async fn noted_pid(&self, id: StepId, name: &str) -> i32 {
        let path = self.step_dir(id).join(name);
        let text = until(|| std::fs::read_to_string(&path).ok()).await;
        text.split_whitespace().next().expect("a pid").parse().expect("a number")
    }
}

impl Drop for Bench {
    /// Nothing of a test lives on, whatever it did.
    fn drop(&mut self) {
        for pid in processes_with(&self.dir.path().display().to_string()) {
            kill(pid);
        }
    }
}

pub(crate) fn exited(code: i32, cause: Cause) -> Ended {
    Ended::Exited { code, cause }
}

pub(crate) async fn guarded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("the test hangs")
}

/// Polls until there is something.
pub(crate) async fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    guarded(async {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        loop {
            pace.tick().await;
            if let Some(found) = look() {
                return found;
            }
        }
    })
    .await
}

/// Processes whose command line or directory holds `text`, except this one.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let holds = |pid: &i32| {
        let argv = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        String::from_utf8_lossy(&argv).contains(text) || cwd.to_string_lossy().contains(text)
    };
    processes().filter(holds).collect()
}

/// Every process but this one.
fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok())
        .filter(|pid| pid.cast_unsigned() != std::process::id())
}

/// The process in role `role` (`sup`, `leaf`, `pump`) of the try.
pub(crate) fn role(dir: &Path, role: &str) -> Option<i32> {
    let dir = dir.display().to_string();
    processes_with(&dir).into_iter().find(|pid| {
        let argv = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = argv.split(|byte| *byte == 0).collect();
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        cwd.to_string_lossy() == dir
            && words.get(1).is_some_and(|word| word.ends_with(b"/run"))
            && words.get(2).is_some_and(|word| *word == role.as_bytes())
    })
}

pub(crate) fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // It may be gone already.
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
}

pub(crate) fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
