//! A Redis that was there before, with data that only its log has: nothing that is done to it loses them.

use settled_proto::v1::Outcome;

use crate::fixture::Scene;

const BEFORE: &str = r#"
apt-get -qq update
apt-get -qq install -y --no-install-recommends redis-server
systemctl stop redis-server
sed -i 's/^appendonly no/appendonly yes/' /etc/redis/redis.conf
printf '%s\n' 'save ""' 'requirepass of-before' >>/etc/redis/redis.conf
rm -rf /var/lib/redis/*
systemctl start redis-server
"#;
const ASK: &str = "export REDISCLI_AUTH=of-before; redis-cli --no-auth-warning";

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn p8_the_data_of_a_redis_that_was_there_before_outlive_every_change() {
    let scene = Scene::new(&[]).await;
    scene.host.run(BEFORE);
    let has = async |keys: &str, log: &str| {
        scene
            .host
            .comes_to(&format!(
                "{ASK} dbsize | grep -qx {keys}; {ASK} config get appendonly | grep -qx {log}"
            ))
            .await;
    };
    scene.host.comes_to(&format!("{ASK} set one 1 | grep -qx OK")).await;
    let well = async |run: String| {
        let (run, output) = scene.completed(&run).await;
        assert_eq!((run.outcome(), run.attempt), (Outcome::Succeeded, 1), "{run:#?}\n{output}");
    };
    // What is not asked for stays as it is.
    well(scene.ask("redis", "redis", &[("max_memory_mb", "64")]).await).await;
    has("1", "yes").await;
    scene.host.run(&format!("{ASK} set two 2"));
    well(scene.ask_update("redis", "redis", &[("append_only", "false")]).await).await;
    has("2", "no").await;
    scene.host.run(&format!("{ASK} set three 3"));
    well(scene.ask_update("redis", "redis", &[("append_only", "true")]).await).await;
    has("3", "yes").await;
    well(scene.ask_update("redis", "redis", &[("append_only", "false")]).await).await;
    well(scene.ask_removal("redis", "redis").await).await;
    has("3", "yes").await;
    assert_eq!(scene.host.run("ls /etc/redis").trim(), "redis.conf");
}
