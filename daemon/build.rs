//! A new migration must reach `migrate!`, which cargo cannot see by itself.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
