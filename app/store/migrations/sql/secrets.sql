-- Whether somebody works for a row now: runs it, or looks what became of it.
create function is_held(s steps) returns boolean language sql immutable as $$
    select s.state = 'running' or (s.state = 'interrupted' and s.probe_at is not null)
$$;

-- The sealed columns of a secret, for the step that names it and its present holder only.
create function get_secret(p_step bigint, p_token uuid, p_name text) returns setof secrets
language sql security definer set search_path = public, pg_temp as $$
    select x.* from secrets x join steps s on x.tenant = s.tenant
    where s.id = p_step and s.token = p_token and is_held(s) and may_touch(s.domain)
      and x.name = p_name and x.kind = 'secret' and p_name = any (s.secrets)
$$;

-- A login of the step's own asset, for its present holder only: the one of that name, else the one
-- that serves the fewest assets, the newest of those.
create function get_credential(p_step bigint, p_token uuid, p_name text) returns setof secrets
language sql security definer set search_path = public, pg_temp as $$
    select x.* from secrets x join steps s on x.tenant = s.tenant
    where s.id = p_step and s.token = p_token and is_held(s) and may_touch(s.domain)
      and x.kind = 'credential' and s.asset_id = any (x.asset_ids)
      and x.name = coalesce(p_name, x.name)
    order by cardinality(x.asset_ids), x.updated_at desc limit 1
$$;

