/**
 * A narrower value head with the output projections that read it, the best pair by one SVD: MoDeGPT's type III.
 * Lin, Gao, Smith, Patel, Tuli, Shen, Jin, Hsu 2024, arXiv:2408.09632; query heads that share a value head are stacked.
 *
 *   V   e x n    value head
 *   O   hd x e   the output projections of its h query heads, one below the other
 *   G   n x n    sum of x x^T
 *   S            S S^T = O^T O, so that ||O E|| = ||S^T E|| for every E
 *   the output Gram of S^T V is S^T V G V^T S = U Lambda U^T, e x e: V' = U_k^T S^T V and O' = O S^-T U_k are the best pair of
 *   width k for sum_h ||(O_h V - O_h' V') X||^2, the sum of the dropped eigenvalues
 */

import { tailSums } from "../tail-sums.ts";
import { eigh, scope, vcat } from "../tensor/index.ts";
import type { ValueOutputProblem, ValueReduction } from "./module-method.ts";
import { eigenWhitening } from "./whitening.ts";

export function valueOutput({ value: V, outputs, gram: G }: ValueOutputProblem): ValueReduction {
  const made = scope(() => {
    const O = vcat(...outputs); // hd x e
    const S = eigenWhitening(O.T.matmul(O));
    const SV = S.apply(V.T).T; // e x n: S^T V
    const { values, vectors: U } = eigh(SV.matmul(G).matmul(SV.T));
    const B = U.T.matmul(SV); // e x n
    const A = O.matmul(S.undo(U.T.contiguous()).T); // hd x e: O S^-T U
    return { values, A, B };
  });
  const at = (width: number) =>
    scope(() => {
      const rows = made.A.rows / outputs.length;
      const left = made.A.columnRange(0, width);
      return {
        value: made.B.rowRange(0, width).contiguous(),
        outputs: outputs.map((_, h) => left.rowRange(h * rows, (h + 1) * rows).contiguous()),
      };
    });
  return Object.assign({ losses: tailSums(made.values), at }, { holds: [made.A, made.B] });
}
