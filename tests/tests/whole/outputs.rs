//! A package that tells what it has made, on a real server: clients see it as soon as it has succeeded.

use settled_proto::v1::Outcome;
use settled_tests::daemon;
use settled_tests::server::{Server, install, package_dir, resource, settled};

const PACKAGE: &str = r#"
name = "listener"
summary = "Chooses a port"

[parameters.port]
type = "text"
summary = "What it writes as its port"

[parameters.password]
type = "secret"
summary = "What opens it"
required = false

[outputs.port]
type = "port"
summary = "Where it listens"

[outputs.hint]
type = "text"
summary = "What to know of it"
max = 100

[operations.install]
attempts = 1
[[operations.install.steps]]
title = "Choose"
secrets = ["password"]
script = '''
printf 'port=%s\nhint=ask %s\n' "$P_PORT" "$(cat "$SETTLED_SECRETS/password")" >"$SETTLED_OUTPUT"
'''
[[operations.install.steps]]
title = "Use"
script = '[ "$OUT_PORT" = 8080 ] && [ -z "$OLD_PORT" ]'

[operations.remove]
steps = [{ title = "Nothing", script = ":" }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn p12_outputs_are_seen_with_the_success_and_secrets_among_them_are_not() {
    let packages = package_dir("listener", PACKAGE);
    let daemon =
        daemon::Options::default().set("PACKAGES__DIR", &packages.path().display().to_string()).start().await;
    let server = Server::start();
    server.register(&daemon, "web").await;
    let mut request = install("web", "listener", "one", &[("port", "08080")]);
    request.secrets.insert("password".to_owned(), b"hunter22".to_vec());
    let run = daemon.resources().install(request).await.unwrap().into_inner().run.unwrap();
    let run = settled(&daemon, &run.id).await;
    assert_eq!(run.outcome(), Outcome::Succeeded, "{run:?}");
    let told = resource(&daemon, "web/listener/one").await.unwrap().outputs;
    assert_eq!((told["port"].as_str(), told["hint"].as_str()), ("8080", "ask ********"));
    assert_eq!(run.outputs, told);

    let mut request = install("web", "listener", "two", &[("port", "none")]);
    request.secrets.insert("password".to_owned(), b"hunter22".to_vec());
    let run = daemon.resources().install(request).await.unwrap().into_inner().run.unwrap();
    let run = settled(&daemon, &run.id).await;
    assert_eq!(run.outcome(), Outcome::Failed, "{run:?}");
    let message = run.failure.unwrap().message;
    assert!(message.contains("`port=none`") && !message.contains("hunter22"), "{message}");
}
