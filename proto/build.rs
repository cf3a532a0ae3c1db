//! Compiles the contract without protoc: protox parses it, tonic generates the code.
//! A method that does not declare its `access` stops the build here.

use std::fmt::Write as _;
use std::path::PathBuf;

use prost::Message as _;

const FILES: [&str; 9] = [
    "settled/v1/types.proto",
    "settled/v1/servers.proto",
    "settled/v1/packages.proto",
    "settled/v1/resources.proto",
    "settled/v1/runs.proto",
    "settled/v1/lifecycles.proto",
    "settled/v1/transitions.proto",
    "settled/v1/admin.proto",
    "settled/v1/schedules.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true).open_files(FILES)?;
    let bytes = compiler.encode_file_descriptor_set();
    std::fs::write(out.join("settled.fds"), &bytes)?;
    // prost drops extensions, so the declared rights are read from protox's own descriptors.
    std::fs::write(out.join("access.rs"), access_table(&compiler)?)?;
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(prost_types::FileDescriptorSet::decode(&bytes[..])?)?;
    Ok(())
}

/// One line per method: its path, and the verb and scope that it declares.
fn access_table(compiler: &protox::Compiler) -> Result<String, Box<dyn std::error::Error>> {
    let pool = compiler.descriptor_pool();
    let access = pool
        .get_extension_by_name("settled.v1.access")
        .ok_or("types.proto does not define settled.v1.access")?;
    let mut table = String::from("&[\n");
    for service in pool.services().filter(|s| s.package_name() == "settled.v1") {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let options = method.options();
            if !options.has_extension(&access) {
                return Err(format!("{path} declares no access: add `option (access) = {{..}}`").into());
            }
            let value = options.get_extension(&access);
            let value = value.as_message().ok_or("access is not a message")?;
            let number = |field: &str| -> i32 {
                value.get_field_by_name(field).and_then(|v| v.as_enum_number()).unwrap_or(0)
            };
            let (verb, scope) = (number("verb"), number("scope"));
            if verb == 0 || scope == 0 {
                return Err(format!("{path} declares an access without verb or scope").into());
            }
            writeln!(table, "    (\"{path}\", {verb}, {scope}),")?;
        }
    }
    table.push(']');
    Ok(table)
}
