//! A server whose apt has several sources, one of which is out of order: what the others have comes all the same.

use settled_proto::v1::Outcome;

use crate::fixture::Scene;

/// One that is not there, and one that has no list to trust: apt-get calls the first a warning, and the second an error.
const THIRD: &str = "
mkdir /srv/third
echo 'deb http://127.0.0.1:1/gone ./' >/etc/apt/sources.list.d/gone.list
echo 'deb file:/srv/third ./' >/etc/apt/sources.list.d/third.list
! apt-get -qq update 2>/dev/null
";

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn a_source_that_cannot_be_fetched_is_a_warning_where_the_others_have_what_is_wanted() {
    let scene = Scene::new(&[]).await;
    scene.host.run(THIRD);
    let (run, output) =
        scene.completed(&scene.ask("apt_package", "cron", &[("package", "cron")]).await).await;
    assert_eq!((run.outcome(), run.attempt), (Outcome::Succeeded, 1), "{run:#?}\n{output}");
    // Of several, apt sums up the errors; what it could not fetch stands before.
    let warning = output.lines().find(|line| line.starts_with("warning: not all lists")).unwrap();
    assert!(warning.contains("file:/srv/third") && output.contains("http://127.0.0.1:1/gone"), "{output}");
    scene.host.run("systemctl -q is-active cron");

    // What only that one could have is asked for again, and not said to be nowhere.
    let (run, output) =
        scene.completed(&scene.ask("apt_package", "other", &[("package", "only-there")]).await).await;
    assert_eq!(run.outcome(), Outcome::Failed, "{run:#?}");
    assert!(run.attempt > 1 && output.contains("they could not be fetched anew"), "{run:#?}\n{output}");
}
