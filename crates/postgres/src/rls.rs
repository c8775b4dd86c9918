//! Row-level security: switched for every table that holds rows of tenants, partitions and
//! embedding sets included; those made later get it by `mnemon.guard`.

use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};

use crate::error::Fault;

/// Switches it inside the caller's transaction.
pub(crate) async fn switch(conn: &mut PgConnection, on: bool) -> Result<(), Fault> {
    query!("select mnemon.set_rls($1)", on).execute(conn).await?;
    Ok(())
}

/// How row-level security stands, and for whom.
pub(crate) struct Standing {
    /// What `meta` says.
    pub(crate) on: bool,
    /// Tables whose state or policy is not what `meta` says.
    pub(crate) differing: Vec<String>,
    /// The role that is logged in.
    pub(crate) role: String,
    /// Whether it holds for that role: no superuser, no BYPASSRLS, not the owner.
    pub(crate) subject: bool,
}

/// Reads how it stands.
pub(crate) async fn standing(conn: &mut PgConnection) -> Result<Standing, Fault> {
    let standing = query_as!(
        Standing,
        r#"
        select m.rls as "on!",
               array(select c.oid::regclass::text
                     from mnemon.tenant_tables() as t (oid) join pg_class c on c.oid = t.oid
                     where c.relrowsecurity <> m.rls
                        or not exists (select from pg_policy p where p.polrelid = c.oid)
                     order by 1) as "differing!",
               current_user::text as "role!",
               not (r.rolsuper or r.rolbypassrls or pg_has_role(o.relowner, 'usage')) as "subject!"
        from mnemon.meta m
        join pg_roles r on r.rolname = current_user
        join pg_class o on o.oid = 'mnemon.memories'::regclass
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok(standing)
}
