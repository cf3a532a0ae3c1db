//! What servers answer, through everything that speaks the step protocol: any bytes give an answer or an error.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use settled::clock::{Clock, SystemClock};
use settled::domain::id::{InstallationId, ServerId};
use settled::domain::step::StepId;
use settled::domain::time::Timestamp;
use settled::remote::exec::{Exec, ExecOutput};
use settled::remote::step::Steps;
use settled::remote::{Login, ProbeSpec, Remote as _, RemoteError, Target};
use ulid::Ulid;

use crate::driver::Session;

const ID: &str = "00000000000000000000000001.0.1.1";

/// Words of the protocol, behind the nonce that a random number of 7 gives.
const WORDS: [&str; 24] = [
    "SETTLED1 0000000000000007 ",
    "SETTLED1 0000000000000007 end\n",
    "SETTLED1 0000000000000007 step 00000000000000000000000001.0.1.1 ",
    "SETTLED1 0000000000000007 data 3\nabc\n",
    "SETTLED1 0000000000000007 data 18446744073709551615\n",
    "running 5 0",
    "exited 5 0 1 itself",
    "exited 5 1 143 deadline",
    "orphaned 0 0",
    "rejected 0 0 disk",
    "lost 0 0 forced",
    "claimed 1",
    "forgotten 1",
    "probed 0",
    "epoch 7 x",
    "machine m",
    "boot b",
    "fact clock ",
    "holder 1 2 apt",
    "lane x 5 1 a, ",
    "process 12 a b",
    "scene b1 b2 free",
    "result aGk=",
    "busy 1 2 apt",
];

/// A server that answers these bytes to everything.
struct Says(Mutex<ExecOutput>);

#[async_trait]
impl Exec for &Says {
    async fn exec(&self, _: &Target, _: &[u8], most: usize, _: Duration) -> Result<ExecOutput, RemoteError> {
        let mut output = self.0.lock().unwrap().clone();
        output.stdout.truncate(most);
        Ok(output)
    }

    async fn forget(&self, _: ServerId) {}
}

/// The machine's clock, whose random numbers are known.
#[derive(Default)]
struct Known(SystemClock);

#[async_trait]
impl Clock for Known {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    async fn sleep_until(&self, at: Duration) {
        self.0.sleep_until(at).await;
    }

    fn ulid(&self) -> Ulid {
        self.0.ulid()
    }

    fn random(&self) -> u64 {
        7
    }
}

/// A sound answer of these lines.
fn answer(lines: &[&str]) -> Vec<u8> {
    let said = |line: &&str| format!("SETTLED1 0000000000000007 {line}\n");
    let lines = lines.iter().map(said).collect::<String>();
    format!("0Welcome\n{lines}SETTLED1 0000000000000007 end\n").into_bytes()
}

/// What servers say that are well, in what the first byte is not part of.
fn seeds() -> Vec<Vec<u8>> {
    let step = |state: &str| format!("step {ID} {state}");
    vec![
        answer(&[
            "epoch 7 01K0",
            "machine 0f",
            "boot b1",
            "fact os Debian",
            "fact clock 1764180000",
            "holder 1 2 apt",
            "lane x 5 1 a, ",
        ]),
        answer(&["claimed 1", &step("running 5 0"), "tombstone 00000000000000000000000001.0.1.2"]),
        answer(&[&step("exited 5 0 0 itself"), "result aGk=", "data 5\nhello"]),
        answer(&[&step("orphaned 0 0"), "process 12 a b", "scene b1 b2 free"]),
        answer(&["busy 1 2 apt"]),
        answer(&["interrupted a iF, b iU"]),
        answer(&["forgotten 1"]),
        answer(&["probed 0", "data 13\nstate=present", "result aGk="]),
        answer(&["fenced 12"]),
        answer(&["refused do this"]),
        b"1/bin/sh: 1: sudo: not found\n".to_vec(),
    ]
}

#[tokio::test]
async fn what_servers_answer_is_understood_or_is_an_error() {
    let says = Says(Mutex::new(ExecOutput { stdout: Vec::new(), stderr: Vec::new(), status: None }));
    let steps = Steps::new(&says, std::sync::Arc::new(Known::default()));
    let id: StepId = ID.parse().unwrap();
    let target = Target {
        server: ServerId(Ulid(1)),
        name: "web1".to_owned(),
        host: "192.0.2.1".to_owned(),
        port: 22,
        user: "root".to_owned(),
        host_key: String::new(),
        login: Login::Agent,
        via: None,
    };
    let probe = ProbeSpec { script: "true".to_owned(), env: Vec::new(), timeout: Duration::from_secs(1) };
    let installation = InstallationId(Ulid(2));
    let read = async |input: &[u8]| {
        let (how, said) = input.split_first().unwrap_or((&0, &[]));
        let status = [Some(0), Some(1), Some(126), Some(127), None][usize::from(*how) % 5];
        // What is not an answer is looked at for words about why.
        *says.0.lock().unwrap() = ExecOutput { stdout: said.to_vec(), stderr: said.to_vec(), status };
        let mut errors = Vec::new();
        errors.extend(steps.hello(&target).await.err());
        errors.extend(steps.claim(&target, installation, 8).await.err());
        errors.extend(steps.take_over(&target, installation, 8).await.err());
        errors.extend(steps.list(&target).await.err());
        let news = steps.attach(&target, id, 0, Duration::ZERO).await;
        errors.extend(steps.cancel(&target, id, 8).await.err());
        errors.extend(steps.abandon(&target, id, 8).await.err());
        errors.extend(steps.reap(&target, id, 8).await.err());
        errors.extend(steps.gc(&target, 8, &[id]).await.err());
        let probed = steps.probe(&target, &probe).await;
        if let Ok(probed) = &probed {
            settled::catalog::read_probe(&probed.output);
            settled::catalog::read_told(&probed.told).map(drop).unwrap_or_default();
        }
        errors.extend(news.err());
        errors.extend(probed.err());
        match errors.iter().find(|error| error.to_string().len() > 100_000) {
            Some(long) => Err(format!("{} bytes of words", long.to_string().len())),
            None => Ok("read"),
        }
    };
    Session::new("answers", &WORDS, seeds()).feed(read).await;
}
