//! Parameters are data (P11): whatever they hold arrives byte for byte, and none of it is ever run.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use settled::domain::step::Cause;

use crate::bench::{Bench, exited};
use crate::shells::shells;

const NASTY: &[&str] = &[
    "",
    "'",
    "''",
    "'\"'\"'",
    "\\",
    "\\'",
    "-n",
    "-e \\n",
    "--",
    "$(exit 9)",
    "`exit 9`",
    "${IFS}",
    "a\nb\n",
    "\n",
    "\r\n",
    " ",
    "  two  ",
    "\t",
    "*",
    "~",
    "!",
    "%s%n",
    "\u{1}\u{7f}\u{81}\u{88}",
    "\u{feff}é\u{202e}",
    "#",
    ";",
    "&&",
    "|",
    "<(x)",
    "EOF",
    "'; touch /tmp/settled-was-here; '",
    "'\n}\nexit 9\n'",
    "SETTLED1 0000000000000000 end",
];

fn value() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(NASTY).prop_map(str::to_owned),
        any::<String>(),
        proptest::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter),
    ];
    proptest::collection::vec(piece, 1..5).prop_map(|pieces| pieces.concat().replace('\0', ""))
}

/// Several values travel in one step, so that many are tried in little time; each is told with its length.
#[test]
fn p11_any_value_arrives_byte_for_byte_in_every_shell() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for shell in shells() {
        let bench = runtime.block_on(Bench::with_shell(&shell));
        let values = proptest::collection::vec(value(), 40);
        let config = Config { cases: 6, failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&values, |values| {
                let prints: Vec<_> =
                    (0..values.len()).map(|n| format!("printf '%s|' \"$P_{n}\"\n")).collect();
                let mut spec = bench.spec(&prints.concat());
                spec.env =
                    values.iter().enumerate().map(|(n, value)| (format!("P_{n}"), value.clone())).collect();
                let expected: String = values.iter().flat_map(|value| [value, "|"]).collect();
                let (ended, news) = runtime.block_on(bench.run(&spec));
                prop_assert_eq!(ended, exited(0, Cause::Itself));
                prop_assert_eq!(String::from_utf8_lossy(&news.output), expected);
                Ok(())
            })
            .unwrap_or_else(|error| panic!("in {}: {error}", shell.display()));
    }
}

#[tokio::test]
async fn p11_a_script_arrives_as_it_is() {
    let bench = Bench::new().await;
    let spec = bench
        .spec("# 'quoted' \\\ncat <<'EOF'\n# kept\n'\"$x`y`\n  \\\nEOF\nprintf '%s' '# also kept'\nexit 5");
    let (ended, news) = bench.run(&spec).await;
    assert_eq!(ended, exited(5, Cause::Itself));
    assert_eq!(String::from_utf8_lossy(&news.output), "# kept\n'\"$x`y`\n  \\\n# also kept");
}

#[tokio::test]
async fn what_cannot_be_sent_is_rejected_with_its_name_and_nothing_is_stored() {
    let bench = Bench::new().await;
    for (name, value) in
        [("P_X", "a\0b"), ("PATH", "x"), ("LD_PRELOAD", "x"), ("a b", "x"), ("", "x"), ("1", "x")]
    {
        let mut spec = bench.spec("true");
        spec.env.push((name.to_owned(), value.to_owned()));
        let answer = settled::remote::Remote::start(&bench.steps, &bench.target, &spec).await;
        let Err(settled::remote::RemoteError::Unsendable(why)) = answer else {
            panic!("{name} was sent: {answer:?}");
        };
        assert!(why.contains(name), "{why}");
        assert!(!bench.step_dir(spec.id).exists());
    }
}
