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

    use prost::Message as _;
    use prost_types::field_descriptor_proto::Type;
    use prost_types::method_options::IdempotencyLevel;
    use prost_types::{
        DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    };

    use super::{ErrorReason, FILE_DESCRIPTOR_SET, REDACTED};
    use crate::error::Reason;

    fn our_files() -> Vec<FileDescriptorProto> {
        let mut files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET)
            .expect("descriptors")
            .file;
        files.retain(|file| file.package() == "countersign.v1");
        assert!(files.len() >= 9);
        files
    }

    fn messages() -> Vec<DescriptorProto> {
        our_files()
            .into_iter()
            .flat_map(|file| file.message_type)
            .collect()
    }

    fn is_redacted(message: &DescriptorProto, field: &FieldDescriptorProto) -> bool {
        let name = format!("countersign.v1.{}.{}", message.name(), field.name());
        REDACTED.contains(&name.as_str())
    }

    /// Whether a message, or one inside it, has a field that must not be shown.
    fn holds_secrets(name: &str, messages: &[DescriptorProto]) -> bool {
        let Some(message) = messages
            .iter()
            .find(|message| name == format!(".countersign.v1.{}", message.name()))
        else {
            return false;
        };
        message
            .field
            .iter()
            .any(|field| is_redacted(message, field) || holds_secrets(field.type_name(), messages))
    }

    #[test]
    fn fields_that_are_named_like_secrets_are_redacted() {
        let mut secrets = 0;
        for message in messages() {
            for field in &message.field {
                let name = field.name();
                let secret = ["token", "tokens", "password", "code", "secret", "api_key"]
                    .iter()
                    .any(|ending| name.ends_with(ending));
                let text = matches!(field.r#type(), Type::String | Type::Bytes);
                if secret && text && !name.ends_with("page_token") {
                    assert!(is_redacted(&message, field), "{}.{name}", message.name());
                    secrets += 1;
                }
            }
        }
        assert!(secrets >= 10, "{secrets}");
    }

    #[test]
    fn the_comment_of_every_field_of_a_request_says_whether_it_is_required() {
        for file in our_files() {
            let info = file.source_code_info.clone().unwrap_or_default();
            let comment = |path: [i32; 4]| {
                let mut places = info.location.iter();
                let place = places.find(|place| place.path == path);
                place
                    .map_or("", |place| place.leading_comments())
                    .trim_start()
            };
            for (m, message) in (0..).zip(&file.message_type) {
                if !message.name().ends_with("Request") {
                    continue;
                }
                for (f, field) in (0..).zip(&message.field) {
                    // A field of a oneof is as required as the oneof is.
                    let comment = match field.oneof_index {
                        Some(o) if !field.proto3_optional() => comment([4, m, 8, o]),
                        _ => comment([4, m, 2, f]),
                    };
                    let (message, field) = (message.name(), field.name());
                    assert!(
                        comment.starts_with("Required.") || comment.starts_with("Optional."),
                        "{message}.{field}: {comment}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_file_says_what_its_generated_code_is_called() {
        for file in our_files() {
            let options = file.options.clone().unwrap_or_default();
            assert_eq!(
                (
                    options.go_package(),
                    options.java_package(),
                    options.java_multiple_files(),
                    options.csharp_namespace(),
                ),
                (
                    "countersign/v1;countersignv1",
                    "dev.countersign.v1",
                    true,
                    "Countersign.V1"
                ),
                "{}",
                file.name()
            );
        }
    }

    #[test]
    fn an_rpc_that_only_reads_can_be_repeated_and_no_secret_can_get_into_its_url() {
        let messages = messages();
        let methods = our_files().into_iter().flat_map(|file| file.service);
        for method in methods.flat_map(|service| service.method) {
            let level = method.options.clone().unwrap_or_default();
            let level = level.idempotency_level();
            let reads = ["BatchVerify", "Check", "Get", "List", "Resolve", "Verify"]
                .iter()
                .any(|verb| method.name().starts_with(verb));
            if reads {
                let expected = if holds_secrets(method.input_type(), &messages) {
                    IdempotencyLevel::Idempotent
                } else {
                    IdempotencyLevel::NoSideEffects
                };
                assert_eq!(level, expected, "{}", method.name());
            } else {
                assert_ne!(level, IdempotencyLevel::NoSideEffects, "{}", method.name());
            }
        }
    }

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
