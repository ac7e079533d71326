create function open_execution(p_execution jsonb, p_steps jsonb, p_send int) returns jsonb
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; v_first bigint;
begin
    insert into executions (id, tenant, name, principal_id, idempotency_key, plan_digest,
                            source, warnings, state, stage, stages, finally_stage, stage_open)
    select x.id, x.tenant, x.name, x.principal_id, x.idempotency_key, x.plan_digest,
           x.source, x.warnings, 'running', -1, x.stages, x.finally_stage, 0
    from jsonb_to_record(p_execution) as x (
        id uuid, tenant text, name text, principal_id int, idempotency_key text, plan_digest text,
        source text, warnings text[], stages int, finally_stage int)
    on conflict (tenant, principal_id, idempotency_key) do nothing
    returning * into e;
    if not found then
        select * into e from executions
        where tenant = p_execution ->> 'tenant'
          and principal_id = (p_execution ->> 'principal_id')::int
          and idempotency_key = p_execution ->> 'idempotency_key';
        return jsonb_build_object('created', false, 'execution_id', e.id, 'state', e.state,
                                  'same', e.plan_digest = p_execution ->> 'plan_digest');
    end if;
    insert into execution_plans (execution_id, plan) values (e.id, p_execution -> 'plan');
    insert into steps (tenant, execution_id, principal_id, position, key, target_index, stage,
                       tool, operation, domain, queue, effect, repeat, linkable, dynamic, template,
                       parameters, target, asset_id, secrets, on_failure, timeout_s,
                       queue_timeout_s, max_retries, backoff_s, needs, mutex, state)
    select e.tenant, e.id, e.principal_id, x.position, x.key, x.target_index, x.stage,
           x.tool, x.operation, x.domain, x.queue, x.effect, x.repeat, x.linkable, x.dynamic,
           x.template, x.parameters, x.target, x.asset_id, x.secrets, x.on_failure, x.timeout_s,
           x.queue_timeout_s, x.max_retries, x.backoff_s, x.needs, x.mutex, 'pending'
    from jsonb_to_recordset(p_steps) as x (
        position int, key text, target_index int, stage int, tool text, operation text,
        domain text, queue text, effect text, repeat text, linkable boolean, dynamic boolean,
        template jsonb, parameters jsonb, target jsonb, asset_id int, secrets text[],
        on_failure text, timeout_s float, queue_timeout_s float, max_retries int,
        backoff_s float, needs jsonb, mutex text)
    order by x.stage, x.target_index;
    perform tell(e.tenant, e.id, null, 'execution.accepted', p_execution ->> 'principal',
                 jsonb_build_object('name', e.name, 'source', e.source,
                                    'rows', jsonb_array_length(p_steps)));
    e := keep(advance(e, p_send));
    if p_send = 0 then perform pg_notify('opsfarm_dispatch', 'unsent'); end if;
    return send_next(e, null, p_send)
        || jsonb_build_object('created', true, 'execution_id', e.id, 'state', e.state);
end $$;

-- Stop what has not started and ask the running ones to stop. Cancelling the main part leaves
-- `finally` to run; cancelling once that runs stops it, too.
create function cancel_execution(p_id uuid, p_actor text, p_reason text, p_send int) returns jsonb
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; v_below int;
begin
    select * into e from executions where id = p_id for update;
    if not found then return null; end if;
    v_below := case when e.stage < e.finally_stage then e.finally_stage else e.stages end;
    if e.finished_at is not null or e.cancel_below >= v_below then
        return jsonb_build_object('accepted', false, 'state', e.state,
                                  'asked', e.cancel_requested_at is not null);
    end if;
    e.cancel_below := v_below;
    e.cancel_requested_at := clock_timestamp();
    e.cancelled_by := p_actor;
    e.cancel_reason := p_reason;
    perform tell(e.tenant, e.id, null, 'execution.cancel_requested', p_actor,
                 jsonb_build_object('reason', p_reason));
    e := close_unstarted(e, e.stage, v_below, 'cancelled', '{pending,due,waiting,queued}');
    e := keep(advance(e, p_send));
    perform pg_notify('opsfarm_cancel', e.id::text);
    return send_next(e, null, p_send)
        || jsonb_build_object('accepted', true, 'state', e.state);
end $$;

