/**
 * LLM-ROM: reduced order modelling of latent features. Chavan, Lele, Gupta 2023, arXiv:2312.07046.
 *
 *   W    m x n   weight, y = W x
 *   H    n x n   sum of x x^T over N tokens; mu its mean of x
 *   V_r  r x m   leading principal components of the latent features y
 *   W1   m x r   V_r^T
 *   W2   r x n   V_r W, so that y' = W1 (W2 x) (+ b')
 *
 * Options: `center`.
 *   none   components of sum y y^T: the best linear map, the same W' as svd-llm.
 *   mean   components of the covariance of y, and b' = (I - V_r^T V_r) mean(y): the best affine map, never worse than none.
 *   paper  components of the covariance without the bias, as the authors' code comes out: worse than none where mean(y) is large.
 *   pooled components of the covariance about each batch's own mean, and b' as for mean: Bolaco's base (arXiv:2405.10616).
 */
import { NumericsError } from "../errors.ts";
import { row, scope, type Tensor } from "../tensor/index.ts";
import { activationAware } from "./activation-aware.ts";
import { meanBias } from "./measure.ts";
import type { Decomposition, InputStatistics, Method } from "./method.ts";
import { decomposition, squares, type Terms } from "./terms.ts";

export const rom: Method = {
  name: "rom",
  title: "LLM-ROM: principal components of the output features",
  paper: "arXiv:2312.07046",
  needs: ["gram", "moments"],
  propagate: "compressed",
  addsBias: ({ center }) => center === "mean" || center === "pooled",
  decompose({ weight: W, statistics }, { center }) {
    if (center === "none") {
      const terms = activationAware(W, statistics.gram);
      return { ...decomposition(terms), outputSpectrum: terms.losses };
    }
    if (center === "pooled") return scope(() => withBias(pooledComponents(W, statistics), W, statistics));
    const components = scope(() => activationAware(W, centerdGram(statistics)));
    return center === "mean" ? withBias(components, W, statistics) : withoutBias(components, statistics);
  },
};

/** sum of (x - mu)(x - mu)^T = H - N mu mu^T, n x n. */
function centerdGram({ gram: H, tokens: N, mean }: InputStatistics): Tensor {
  const mu = row(mean); // 1 x n
  return H.sub(mu.T.matmul(mu).scale(N));
}

/** Components of sum over batches of (y - mean_batch)(y - mean_batch)^T; what each of them carries about the mean of all. */
function pooledComponents(W: Tensor, statistics: InputStatistics): Terms {
  const { gram: H, batchMeans: M } = statistics;
  if (!M)
    throw new NumericsError("rom --center pooled: expected the means of batches, which these statistics lack; calibrate again");
  return scope(() => {
    const components = activationAware(W, H.sub(M.T.matmul(M)));
    const { right } = components; // V W, p x n
    const losses = right.matmul(centerdGram(statistics)).mul(right).rowSums().toFloat64Array();
    return { ...components, losses: squares(losses) };
  });
}

function withBias(components: Terms, W: Tensor, { mean }: InputStatistics): Decomposition {
  const linear = decomposition(components);
  return {
    ...linear,
    factors: (r) =>
      scope(() => {
        const factors = linear.factors(r);
        return { ...factors, bias: meanBias(W, factors, mean) };
      }),
  };
}

/** The mean's share N (v_i W mu)^2 of each dropped direction is lost too. */
function withoutBias(components: Terms, { mean, tokens: N }: InputStatistics): Decomposition {
  const shares = scope(() => components.right.matmul(row(mean).T).toFloat64Array()); // V W mu
  const losses = components.losses.map((loss, i) => loss + N * (shares[i] as number) ** 2);
  return { ...decomposition(components), losses };
}
