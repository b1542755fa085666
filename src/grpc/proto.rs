//! The generated types of `countersign.v1`.

#![expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]

tonic::include_proto!("countersign.v1");
include!(concat!(env!("OUT_DIR"), "/redacted_debug.rs"));

/// All descriptors with their options and comments, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));
