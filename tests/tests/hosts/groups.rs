//! Control groups of hosts: those of a host that was killed are swept away, those of a host that runs are its own.

use std::process::Command;

use settled_tests::host::Host;

/// A name that no host has: theirs are numbers.
const LEFT: &str = "settled-left-by-a-test";

/// In the machine's control groups, as those who start hosts see them.
fn in_groups(script: &str) -> String {
    let mounted = format!("mount -t cgroup2 none /mnt; cd /mnt; {script}");
    let output = Command::new("unshare").args(["--mount", "sh", "-ec", &mounted]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(hosts), ignore = "this machine cannot start hosts: be root, and allowed to make namespaces")]
async fn who_starts_sweeps_what_is_left_and_takes_nothing_from_who_runs() {
    let runs = Host::start(&[]).await;
    runs.run("mkdir /sys/fs/cgroup/made-for-a-service");
    in_groups(&format!("mkdir -p {LEFT}/of-a-service"));
    let _starts = Host::start(&[]).await;
    runs.run("rmdir /sys/fs/cgroup/made-for-a-service");
    let left = in_groups(&format!("ls -d {LEFT} 2>&1 || true"));
    assert!(left.contains("No such file"), "not swept: {left}");
}
