//! Compiles the protos with protox, reads the permission of each RPC from its options, and keeps secrets out of `Debug`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, error::Error, fs};

use protox::prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, MessageDescriptor,
};

/// The RPCs of health and reflection.
const STANDARD: [(&str, &str); 5] = [
    ("HealthCheck", "grpc.health.v1.Health/Check"),
    ("HealthList", "grpc.health.v1.Health/List"),
    ("HealthWatch", "grpc.health.v1.Health/Watch"),
    (
        "Reflection",
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ),
    (
        "ReflectionAlpha",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=src/store/migrations");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(proto_files()?)?;
    let pool = compiler.descriptor_pool();
    let out = PathBuf::from(env::var("OUT_DIR")?);

    fs::write(
        out.join("descriptor_set.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    fs::write(out.join("permissions.rs"), permissions(&pool)?)?;
    fs::write(out.join("methods.rs"), methods(&pool)?)?;
    let redacted = Redacted::collect(&pool);
    fs::write(out.join("redacted_debug.rs"), redacted.debug_impls())?;
    tonic_prost_build::configure()
        .skip_debug(redacted.paths())
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

fn proto_files() -> Result<Vec<String>, Box<dyn Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(Path::new("proto/countersign/v1"))? {
        names.push(format!(
            "countersign/v1/{}",
            entry?.file_name().to_string_lossy()
        ));
    }
    names.sort();
    Ok(names)
}

/// `permission_of`, a match from an RPC's path to its `Permission`; an RPC without the option stops the build.
fn permissions(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let option = pool
        .get_extension_by_name("countersign.v1.permission")
        .ok_or("the permission option is not declared")?;
    let mut paths = BTreeMap::<_, Vec<_>>::new();
    let mut rpcs = String::new();
    for service in pool
        .services()
        .filter(|service| service.package_name() == "countersign.v1")
    {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let variant = variant_of(
                &permission(&method.options(), &option)
                    .ok_or(format!("{path} has no permission"))?,
            );
            writeln!(rpcs, "    ({path:?}, Permission::{variant}),")?;
            paths.entry(variant).or_default().push(format!("{path:?}"));
        }
    }
    let mut arms = String::new();
    for (variant, paths) in paths {
        writeln!(
            arms,
            "        {} => Some(Permission::{variant}),",
            paths.join(" | ")
        )?;
    }
    Ok(format!(
        "/// The permission that an RPC declares beside itself, by its path.\n\
         #[must_use]\npub fn permission_of(path: &str) -> Option<Permission> {{\n    match path {{\n{arms}        _ => None,\n    }}\n}}\n\n\
         /// Every RPC with its permission.\n#[cfg(test)]\nconst RPCS: &[(&str, Permission)] = &[\n{rpcs}];\n"
    ))
}

/// The label `Method`, with every RPC that the service answers, and its value for a path.
fn methods(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let ours = pool
        .services()
        .filter(|service| service.package_name() == "countersign.v1");
    let mut names: Vec<_> = ours
        .flat_map(|service| {
            let names = service.methods().map(|method| {
                let (service, method) = (service.name(), method.name());
                (
                    format!("{service}{method}"),
                    format!("countersign.v1.{service}/{method}"),
                )
            });
            names.collect::<Vec<_>>()
        })
        .collect();
    names.sort();
    names.extend(STANDARD.map(|(variant, name)| (variant.to_owned(), name.to_owned())));
    let (mut values, mut arms) = (String::new(), String::new());
    for (variant, name) in names {
        writeln!(values, "        {variant} = {name:?},")?;
        writeln!(
            arms,
            "            {:?} => Self::{variant},",
            format!("/{name}")
        )?;
    }
    Ok(format!(
        "label! {{\n    /// An RPC.\n    Method = \"rpc_method\" {{\n{values}        Other = \"_OTHER\",\n    }}\n}}\n\n\
         impl Method {{\n    /// The RPC with this path.\n    fn of(path: &str) -> Self {{\n        match path {{\n{arms}            _ => Self::Other,\n        }}\n    }}\n}}\n"
    ))
}

fn permission(options: &DynamicMessage, option: &ExtensionDescriptor) -> Option<String> {
    let name = options.get_extension(option).as_str()?.to_owned();
    (!name.is_empty()).then_some(name)
}

fn is_redacted(options: &DynamicMessage) -> bool {
    options
        .get_field_by_name("debug_redact")
        .is_some_and(|value| value.as_bool() == Some(true))
}

/// `token.verify` to `TokenVerify`.
fn variant_of(permission: &str) -> String {
    permission
        .split(['.', '_'])
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
}

/// Messages with a `debug_redact` field: their derived `Debug`, and that of their oneofs, is replaced, because prost ignores the option.
struct Redacted(Vec<MessageDescriptor>);

impl Redacted {
    fn collect(pool: &DescriptorPool) -> Self {
        let ours = pool.all_messages().filter(|message| {
            message.package_name() == "countersign.v1" && !message.is_map_entry()
        });
        Self(
            ours.filter(|message| message.fields().any(|field| is_redacted(&field.options())))
                .collect(),
        )
    }

    fn paths(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|message| format!(".{}", message.full_name()))
            .collect()
    }

    /// The names of the fields, for the test that none is forgotten: prost's own descriptors lack the option.
    fn fields(&self) -> String {
        let fields = self.0.iter().flat_map(MessageDescriptor::fields);
        let names: Vec<_> = fields
            .filter(|field| is_redacted(&field.options()))
            .map(|field| field.full_name().to_owned())
            .collect();
        format!(
            "/// Every field with `debug_redact`.\n#[cfg(test)]\nconst REDACTED: &[&str] = &{names:?};\n"
        )
    }

    fn debug_impls(&self) -> String {
        let mut code = String::new();
        for message in &self.0 {
            code += &debug_impl(message.name(), message.name());
            for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
                let name = variant_of(oneof.name());
                code += &debug_impl(&format!("{}::{name}", module_of(message.name())), &name);
            }
        }
        code + &self.fields()
    }
}

fn debug_impl(path: &str, name: &str) -> String {
    format!(
        "impl std::fmt::Debug for {path} {{\n    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{\n        \
         f.debug_struct({name:?}).finish_non_exhaustive()\n    }}\n}}\n"
    )
}

/// `TokenPair` to `token_pair`.
fn module_of(message: &str) -> String {
    let mut module = String::new();
    for letter in message.chars() {
        if letter.is_uppercase() && !module.is_empty() {
            module.push('_');
        }
        module.extend(letter.to_lowercase());
    }
    module
}
