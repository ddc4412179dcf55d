// What structured answers look like, as schemas of zod; `shapes.py` has the same for pydantic.

import { z } from 'zod';

const person = z.object({ name: z.string(), age: z.int() });
const place = z.object({ street: z.enum(['ivy', 'oak']), lit: z.boolean() });
const color = z.enum(['red', 'green']);
const tree = z.object({
  lit: z.boolean(),
  get branches() {
    return z.array(tree);
  },
});

export const shapes = {
  person,
  nested: z.object({ house: z.object({ place, floors: z.int() }), since: z.iso.date() }),
  enums: z.object({
    color,
    size: z.enum(['small', 'large']),
    stars: z.union([z.literal(1), z.literal(2), z.literal(3)]),
    always: z.literal('yes'),
  }),
  arrays: z.object({
    tags: z.array(z.enum(['a', 'b'])),
    places: z.array(place),
    grid: z.array(z.array(z.boolean())),
  }),
  optional: z.object({ age: z.int().nullable(), color: color.nullable().optional() }),
  union: z.object({
    pet: z.discriminatedUnion('kind', [
      z.object({ kind: z.literal('cat'), lives: z.int() }),
      z.object({ kind: z.literal('dog'), good: z.boolean() }),
    ]),
    either: z.union([z.boolean(), z.int()]),
  }),
  shared: z.object({ home: place, work: place, others: z.array(place) }),
  tree,
};
