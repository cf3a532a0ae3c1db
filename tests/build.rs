//! Finds out whether this machine can start the hosts of `settled_tests::host`. Where it cannot, what needs them is ignored by name,
//! rather than passed without having been tried.

use std::process::Command;

/// Whether whoever builds this may do what `tests/hosts/host.sh` does.
fn hosts() -> bool {
    let trial = "mount -t cgroup2 none /mnt && ip link add tests0 type veth peer name tests1";
    let mut namespaces = Command::new("unshare");
    namespaces.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", trial]);
    namespaces.output().is_ok_and(|done| done.status.success())
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=USER");
    println!("cargo::rerun-if-env-changed=HOME");
    println!("cargo::rustc-check-cfg=cfg(hosts)");
    if hosts() {
        println!("cargo::rustc-cfg=hosts");
    }
}
