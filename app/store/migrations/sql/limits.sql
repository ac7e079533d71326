-- Limits: how many rows that share a cap may run at once, and how long lies between two starts.
-- A row's caps are [{key, what, running?, every_s?}], found before it was written down; rows
-- with the same caps are a group (`cap_group`). A capped row is published by the dispatcher only.

create function cap_name(p_tenant text, p_cap jsonb) returns text language sql immutable as $$
    select p_tenant || ' ' || (p_cap ->> 'key')
$$;

-- How many rows hold each cap, as {name: count}: those that run, and with `p_sent` also those
-- that are published and not claimed yet. `p_but`: not this row.
create function held_caps(p_sent boolean, p_but bigint default 0) returns jsonb
language sql stable as $$
    select coalesce(jsonb_object_agg(h.name, h.held), '{}') from (
        select cap_name(s.tenant, c) as name, count(*) as held
        from (
            select r.id, r.tenant, r.caps from steps r
            where r.state = 'running' and r.caps is not null
            union all
            select q.id, q.tenant, q.caps from steps q
            where p_sent and q.state = 'queued' and q.sent_at is not null and q.caps is not null
        ) s cross join jsonb_array_elements(s.caps) c
        where s.id <> p_but group by 1
    ) h
$$;

-- When the latest row that shares a cap began.
create function last_start(p_tenant text, p_cap jsonb) returns timestamptz language sql stable as $$
    select max(started_at) from cap_starts where tenant = p_tenant and key = p_cap ->> 'key'
$$;

-- When rows with these caps may begin as far as their intervals go; null: now.
create function caps_due(p_tenant text, p_caps jsonb) returns timestamptz language sql stable as $$
    select max(last_start(p_tenant, c) + make_interval(secs => (c ->> 'every_s')::float))
    from jsonb_array_elements(p_caps) c where c ? 'every_s'
$$;

-- How many more rows with these caps may begin now; `p_held` as of `held_caps`.
create function caps_room(p_tenant text, p_caps jsonb, p_held jsonb) returns int
language sql stable as $$
    select case when caps_due(p_tenant, p_caps) > clock_timestamp() then 0 else (
        select min(least(
            coalesce((c ->> 'running')::int, 2147483647),
            case when c ? 'every_s' then 1 end)
            - coalesce((p_held ->> cap_name(p_tenant, c))::int, 0))
        from jsonb_array_elements(p_caps) c) end
$$;

-- Which limit an unsent row waits for, in words; null: none. `p_held` as of `held_caps(true)`.
create function tell_limit(s steps, p_held jsonb) returns text language sql stable as $$
    select 'limit: ' || case
        when c ? 'running' and h.held >= (c ->> 'running')::int
            then format('%s running %s', h.held, c ->> 'what')
        else format('one %s every %s s', c ->> 'what', c ->> 'every_s') end
    from jsonb_array_elements(s.caps) with ordinality as caps (c, place)
    cross join lateral (
        select coalesce((p_held ->> cap_name(s.tenant, c))::int, 0) as held) h
    where (c ? 'running' and h.held >= (c ->> 'running')::int)
       or (c ? 'every_s' and (h.held > 0 or last_start(s.tenant, c) > clock_timestamp()
                              - make_interval(secs => (c ->> 'every_s')::float)))
    order by place limit 1
$$;

-- The groups of unsent capped rows of a queue, one for each principal, without a look at the rows.
create function capped_groups(p_queue text)
returns table (principal_id int, cap_group text, tenant text, caps jsonb, queued_at timestamptz)
language sql stable as $$
    with recursive heads as (
        (select i.principal_id, i.cap_group, i.id from steps i
         where i.queue = p_queue and i.state = 'queued' and i.sent_at is null
           and i.cap_group is not null
         order by i.principal_id, i.cap_group, i.queued_at limit 1)
        union all
        select n.principal_id, n.cap_group, n.id from heads h cross join lateral (
            select i.principal_id, i.cap_group, i.id from steps i
            where i.queue = p_queue and i.state = 'queued' and i.sent_at is null
              and i.cap_group is not null
              and (i.principal_id, i.cap_group) > (h.principal_id, h.cap_group)
            order by i.principal_id, i.cap_group, i.queued_at limit 1) n
    )
    select h.principal_id, h.cap_group, s.tenant, s.caps, s.queued_at
    from heads h join steps s on s.id = h.id
$$;

-- Unsent rows of a queue whose limits have room, at most `p_limit`: whoever began least lately
-- under a limit comes first. They are not marked yet.
create function choose_capped(p_queue text, p_limit int) returns bigint[] language plpgsql as $$
declare
    v_held jsonb; v_ids bigint[] := '{}'; r record; c jsonb;
begin
    if p_limit < 1 or not exists (select from capped_groups(p_queue)) then return v_ids; end if;
    v_held := held_caps(true);
    for r in
        with open as (
            select g.*, caps_room(g.tenant, g.caps, v_held) as room
            from capped_groups(p_queue) g
        )
        select s.id, o.tenant, o.caps,
               row_number() over (partition by o.principal_id order by s.queued_at) as rank,
               (select max(l.started_at) from cap_starts l
                where l.tenant = o.tenant and l.principal_id = o.principal_id
                  and l.key in (select k ->> 'key' from jsonb_array_elements(o.caps) k)) as began
        from open o cross join lateral (
            select i.id, i.queued_at from steps i
            where i.queue = p_queue and i.principal_id = o.principal_id
              and i.cap_group = o.cap_group and i.state = 'queued' and i.sent_at is null
              and i.cap_group is not null
              and (i.not_before is null or i.not_before <= clock_timestamp())
              and is_free(i.id, i.tenant, i.mutex)
            order by i.queued_at limit greatest(0, least(o.room, p_limit))
        ) s
        order by rank, began nulls first, s.queued_at, s.id
    loop
        exit when cardinality(v_ids) = p_limit;
        continue when caps_room(r.tenant, r.caps, v_held) < 1;
        v_ids := v_ids || r.id;
        for c in select jsonb_array_elements(r.caps) loop
            v_held := v_held || jsonb_build_object(
                cap_name(r.tenant, c),
                coalesce((v_held ->> cap_name(r.tenant, c))::int, 0) + 1);
        end loop;
    end loop;
    return v_ids;
end $$;

-- Seconds until an interval lets a waiting row begin, or a probe is to be asked; null: none waits
-- for a moment.
create function next_start_s() returns float
language sql security definer set search_path = public, pg_temp as $$
    select extract(epoch from min(d.due) - clock_timestamp())::float
    from (
        select caps_due(g.tenant, g.caps) as due
        from queued_queues() q cross join lateral capped_groups(q) g
        union all
        select probe_at from steps where state = 'interrupted' and probes_left > 0
    ) d
    where d.due > clock_timestamp()
$$;

-- The limits' last word, at claim: may this row begin now? Claims under one cap take turns.
create function enter_caps(s steps) returns boolean language plpgsql as $$
declare
    c jsonb;
begin
    for c in select k from jsonb_array_elements(s.caps) k order by k ->> 'key' loop
        perform pg_advisory_xact_lock(hashtextextended(cap_name(s.tenant, c), 0));
    end loop;
    return caps_room(s.tenant, s.caps, held_caps(false, s.id)) > 0;
end $$;

-- A row with caps has begun.
create function note_start(s steps) returns void language sql as $$
    insert into cap_starts as l (tenant, key, principal_id, started_at)
    select s.tenant, c ->> 'key', s.principal_id, s.started_at from jsonb_array_elements(s.caps) c
    on conflict on constraint pk_cap_starts do update set started_at = excluded.started_at
$$;
