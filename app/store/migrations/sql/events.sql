-- The state machine of steps and executions. Every change of a step's state is one of these
-- functions: a compare-and-set in one round trip. Lock order is always execution, then step.
-- They run with their owner's rights and a fixed search path; a session whose role is named
-- opsfarm_<domain> may only touch steps of that domain.

create function caller_domain() returns text language sql stable as $$
    select substring(session_user from '^opsfarm_(comms|asset|network|automation)$')
$$;

create function may_touch(p_domain text) returns boolean language sql stable as $$
    select caller_domain() is null or caller_domain() = p_domain
$$;

create function tell(
    p_tenant text, p_execution uuid, p_step bigint, p_kind text, p_actor text, p_data jsonb
) returns void language sql as $$
    insert into events (tenant, execution_id, step_id, kind, actor, data)
    values (p_tenant, p_execution, p_step, p_kind, p_actor, p_data)
$$;

-- What watchers show of a step beside its state.
create function step_facts(s steps) returns jsonb language sql immutable as $$
    select jsonb_build_object(
        'position', s.position, 'key', s.key, 'tool', s.tool, 'operation', s.operation,
        'target', s.target -> 'name', 'attempt', s.attempt, 'reason', s.reason)
$$;

-- Others may wait for what a row held: its mutex, its share of a limit.
create function tell_freed(s steps) returns void language plpgsql as $$
begin
    if s.mutex is not null or s.caps is not null then
        perform pg_notify('opsfarm_dispatch',
                          case when s.mutex is null then 'limit' else 'mutex' end);
    end if;
end $$;

-- Events tell what happened; nobody rewrites that.
create function refuse_rewrite() returns trigger language plpgsql as $$
begin
    raise exception 'events are append-only';
end $$;
create trigger events_append_only before update on events
    for each row execute function refuse_rewrite();

