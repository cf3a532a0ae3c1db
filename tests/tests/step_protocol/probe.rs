//! Read-only scripts in the foreground.

use std::time::Duration;

use settled::remote::{ProbeAnswer, ProbeSpec, Remote};

use crate::bench::{Bench, guarded};
use crate::shells::shells;

async fn probe(bench: &Bench, script: &str, timeout: Duration) -> ProbeAnswer {
    let env = vec![("P_X".to_owned(), "it's\n$(x)".to_owned())];
    let spec = ProbeSpec { script: script.to_owned(), env, timeout };
    guarded(bench.steps.probe(&bench.target, &spec)).await.expect("an answer")
}

#[tokio::test]
async fn a_probe_answers_what_it_printed_in_every_shell() {
    for shell in shells() {
        let bench = Bench::with_shell(&shell).await;
        let minute = Duration::from_mins(1);
        let answer = probe(&bench, "printf '%s|' \"$P_X\"; echo err >&2; exit 3", minute).await;
        assert_eq!(
            answer,
            ProbeAnswer { exit_code: 3, output: b"it's\n$(x)|err\n".to_vec(), told: Vec::new() },
            "{}",
            shell.display()
        );

        let answer = probe(&bench, "head -c 300000 /dev/zero || exit 1; exit 6", minute).await;
        assert_eq!((answer.exit_code, answer.output.len()), (6, 64 * 1024), "{}", shell.display());

        let answer = probe(&bench, "sleep 60 & echo up; exit 0", minute).await;
        assert_eq!(
            answer,
            ProbeAnswer { exit_code: 0, output: b"up\n".to_vec(), told: Vec::new() },
            "{}",
            shell.display()
        );

        let answer = probe(&bench, "echo up; sleep 60", Duration::from_secs(1)).await;
        assert_eq!(
            answer,
            ProbeAnswer { exit_code: 124, output: b"up\n".to_vec(), told: Vec::new() },
            "{}",
            shell.display()
        );

        let script = "echo up; printf 'a=1\\nexecutes_at=soon\\n' >\"$SETTLED_OUTPUT\"";
        let answer = probe(&bench, script, minute).await;
        assert_eq!((answer.exit_code, answer.output), (0, b"up\n".to_vec()), "{}", shell.display());
        assert_eq!(answer.told, b"a=1\nexecutes_at=soon\n".to_vec(), "{}", shell.display());
    }
}
