//! The generated types of `countersign.v1`.

#![expect(
    clippy::pedantic,
    clippy::large_enum_variant,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]

tonic::include_proto!("countersign.v1");
include!(concat!(env!("OUT_DIR"), "/redacted_debug.rs"));

/// All descriptors with their options and comments, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::ErrorReason;
    use crate::error::Reason;

    #[test]
    fn the_protos_list_every_reason_and_no_other() {
        let listed: BTreeSet<_> = (1..200)
            .filter_map(|number| ErrorReason::try_from(number).ok())
            .map(|reason| {
                reason
                    .as_str_name()
                    .trim_start_matches("ERROR_REASON_")
                    .to_owned()
            })
            .collect();
        let known: BTreeSet<_> = Reason::ALL
            .iter()
            .map(|reason| reason.name().to_owned())
            .collect();
        assert_eq!(listed, known);
    }
}
