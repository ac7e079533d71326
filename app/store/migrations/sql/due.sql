-- A dynamic step was rendered: its rows take the place of the one that stood for it.
create function expand_step(p_step bigint, p_rows jsonb, p_send int) returns jsonb
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    e executions; s steps;
begin
    select x.* into e from executions x
    where x.id = (select execution_id from steps where id = p_step) for update;
    select * into s from steps where id = p_step and state = 'due' for update;
    if not found then return jsonb_build_object('accepted', false); end if;
    update steps set state = 'queued', parameters = x.parameters, target = x.target,
        asset_id = x.asset_id, secrets = x.secrets, mutex = x.mutex, queue = x.queue,
        effect = x.effect, repeat = x.repeat, timeout_s = x.timeout_s, needs = x.needs,
        queued_at = clock_timestamp()
    from jsonb_to_record(p_rows -> 0) as x (
        parameters jsonb, target jsonb, asset_id int, secrets text[], mutex text, queue text,
        effect text, repeat text, timeout_s float, needs jsonb)
    where id = p_step;
    insert into steps (tenant, execution_id, principal_id, position, key, target_index, stage,
                       tool, operation, domain, queue, effect, repeat, linkable, dynamic, template,
                       parameters, target, asset_id, secrets, on_failure, timeout_s,
                       queue_timeout_s, max_retries, backoff_s, needs, mutex, state, queued_at)
    select s.tenant, s.execution_id, s.principal_id, s.position, s.key, r.ordinality - 1, s.stage,
           s.tool, s.operation, s.domain, x.queue, x.effect, x.repeat, false, true, null,
           x.parameters, x.target, x.asset_id, x.secrets, s.on_failure, x.timeout_s,
           s.queue_timeout_s, s.max_retries, s.backoff_s, x.needs, x.mutex, 'queued',
           clock_timestamp()
    from jsonb_array_elements(p_rows) with ordinality as r,
         jsonb_to_record(r.value) as x (
             parameters jsonb, target jsonb, asset_id int, secrets text[], mutex text, queue text,
             effect text, repeat text, timeout_s float, needs jsonb)
    where r.ordinality > 1
    order by r.ordinality;
    e.stage_open := e.stage_open + jsonb_array_length(p_rows) - 1;
    perform tell(s.tenant, s.execution_id, s.id, 'step.queued', null,
                 step_facts(s) || jsonb_build_object('rows', jsonb_array_length(p_rows)));
    e := keep(e);
    return send_next(e, null, p_send) || jsonb_build_object('accepted', true);
end $$;

