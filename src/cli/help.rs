//! What `countersign --help` says beyond the subcommands.

/// Where to read on, and what is set most often.
pub(super) const MORE: &str = "\
Settings come from the environment, or from a file .env in the working directory. The most used:
  DATABASE_URL                 sqlite:PATH or postgres://…; default sqlite:countersign.db
  COUNTERSIGN_LISTEN           address and port; default 127.0.0.1:50051
  COUNTERSIGN_CALLERS          the file of the backends that may call
  COUNTERSIGN_ENCRYPTION_KEYS  the root keys; needed with PostgreSQL
  DOMAIN_SERVER                public address of the application's server
  ALLOW_REGISTRATION           whether users may register; default true
  ALLOW_SOCIAL_LOGIN           whether OpenID signs users in; default false
  OPENID_ISSUER                the OpenID provider
  OPENID_CLIENT_ID             the client id that it gave
  OPENID_CLIENT_SECRET         the client's secret
  COUNTERSIGN_LOG              log filter; default info
`countersign config check` lists what is set where, and names every mistake.

README.md explains the rest, in these chapters:
  A first session              try the service
  Configure callers            who may call
  Deployment                   store, keys, backup, network
  Operations                   health, logs, upgrades, restore
  Settings                     every setting
  Coming from LibreChat's .env
  RPCs and permissions, Placeholders, Errors";
