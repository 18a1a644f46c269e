//! Generates the wire types from `meridian/v1/*.proto` without an installed protoc.

const FILES: [&str; 5] = [
    "meridian/v1/types.proto",
    "meridian/v1/data.proto",
    "meridian/v1/shards.proto",
    "meridian/v1/admin.proto",
    "meridian/v1/peer.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(FILES, ["."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    #[expect(clippy::disallowed_methods, reason = "a build script writes the descriptors for gRPC reflection")]
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    // `bytes` fields keep the buffer they arrived in: a frame is not copied from socket to log.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    for file in FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    Ok(())
}
